// A backend whose device is the host itself: what a GPU runs, as plain loops. It shows that the interface carries a
// whole fit, and how little a backend of one's own needs. With TALLY_OTHER_VERSION it claims another version.
//
// The environment variable TALLY_GENERIC_SUM makes its devices sum over ranks, through memory that the ranks of one host
// share: "on"; "slow", each sum taking its time; "fail:R", where rank R fails in its third sum; "stuck:R", where rank R
// never gets there. TALLY_GENERIC_LOG names a file to which each rank adds the number of its sums.
//
// TALLY_GENERIC_BLOCKS says how many of the CPU's blocks one of its blocks is, else 2.
//
// TALLY_GENERIC_ROWS names a file to which each model that ends adds how many of the blocks that it was sent it kept, and
// how many not.
//
// TALLY_GENERIC_FAULT makes its devices wrong in one small way, or only device D where ":D" follows: "statistic", off by
// 2^-24 of it; "lanes", "streamed", "candidates", off in the last bits with several lanes, where few rows may be kept, in
// all candidates but the first; "label", of row 0; "messages", the first piece's under the first candidate, whose
// states are mixed up.
// TALLY_GENERIC_FAIL makes one rank's device break, "open:R", "prepare:R" (its third time) or "read:R", or be slow,
// "slow:R".
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <map>
#include <string>
#include <type_traits>
#include <utility>

#include "algorithms/module_models.hpp"
#include "core/block.hpp"

namespace tally::module {

namespace {

// Whether TALLY_GENERIC_FAIL says this of this rank.
bool is_told_to(const char* what) {
  const char* told = std::getenv("TALLY_GENERIC_FAIL");
  for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMI_RANK"})
    if (const char* rank = std::getenv(name); rank && told) return std::string(what) + ":" + rank == told;
  return false;
}

void fail_if_told_to(const char* what) {
  if (is_told_to(what)) throw DeviceError(std::string("the device breaks in ") + what);
}

}  // namespace

// What the ranks share. Sums take the two halves in turn: nobody writes to one while another may still read it.
struct World {
  static constexpr int most_ranks = 8;
  static constexpr std::size_t most_values = std::size_t{1} << 16;
  std::atomic<int> joined;
  std::atomic<int> sums_begun[most_ranks];
  std::int64_t values[2][most_ranks][most_values];
};

struct Link {
  World* world = nullptr;
  std::string name, manner = std::getenv("TALLY_GENERIC_SUM");
  int rank, size, sums = 0;
  std::span<std::int64_t> buffer;
  std::chrono::steady_clock::time_point begun;
  bool aborted = false;

  Link(const unsigned char* id, int own_rank, int rank_count)
      : name(reinterpret_cast<const char*>(id)), rank(own_rank), size(rank_count) {
    const int file = shm_open(name.c_str(), O_CREAT | O_RDWR, 0600);
    if (file < 0 || ftruncate(file, sizeof(World)) != 0 || size > World::most_ranks)
      throw DeviceError("no shared memory " + name);
    void* const memory = mmap(nullptr, sizeof(World), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory == MAP_FAILED) throw DeviceError("shared memory cannot be mapped");
    world = static_cast<World*>(memory);
    ++world->joined;
  }
  ~Link() {
    munmap(world, sizeof(World));
    shm_unlink(name.c_str());  // by whoever comes first
    if (const char* log = std::getenv("TALLY_GENERIC_LOG")) std::ofstream(log, std::ios::app) << sums << "\n";
  }

  bool is_told(const char* what) const { return manner == std::string(what) + ":" + std::to_string(rank); }

  void start(std::span<std::int64_t> values) {
    if (aborted) throw DeviceError("the sum was aborted");
    if (values.size() > World::most_values) throw DeviceError("too much to sum");
    buffer = values;
    begun = std::chrono::steady_clock::now();
    std::copy(values.begin(), values.end(), world->values[sums++ % 2][rank]);
    if (!is_told("stuck")) world->sums_begun[rank] = sums;
  }
  CollectiveState poll() {
    if (is_told("fail") && sums == 3) throw DeviceError("the device has fallen off the bus");
    if (manner == "slow" && std::chrono::steady_clock::now() - begun < std::chrono::milliseconds(50))
      return CollectiveState::waiting;
    for (int r = 0; r < size; ++r)
      if (world->sums_begun[r] < sums) return CollectiveState::waiting;
    for (std::size_t i = 0; i < buffer.size(); ++i) {
      buffer[i] = 0;
      for (int r = 0; r < size; ++r) buffer[i] += world->values[(sums - 1) % 2][r][i];
    }
    return CollectiveState::done;
  }
};

namespace {

// How a model was asked for.
struct Opened {
  int device, lanes, candidates;
  bool streamed;
};
std::map<const Model*, Opened>& opened_models() {
  static std::map<const Model*, Opened> models;
  return models;
}

bool has_fault(const char* what, const Model* model) {
  const std::string fault = std::getenv("TALLY_GENERIC_FAULT");
  return fault == what || fault == std::string(what) + ":" + std::to_string(opened_models().at(model).device);
}

void spoil_sums(Model* model) {
  const Opened& opened = opened_models().at(model);
  const auto first_sum = [&](int candidate) -> std::int64_t& {
    const Tally::Place place = Tally::place_of(candidate, model->model->statistics());
    return model->engine().buffer()[static_cast<std::size_t>(place.high)];
  };
  constexpr std::int64_t last_bits = 256;  // where a sum has 2^62 at most
  for (int candidate = 0; candidate < opened.candidates; ++candidate) {
    std::int64_t& sum = first_sum(candidate);
    if (has_fault("statistic", model)) sum += sum >> 24;
    if (opened.lanes > 1 && has_fault("lanes", model)) sum += last_bits;
    if (opened.streamed && has_fault("streamed", model)) sum += last_bits;
    if (candidate > 0 && has_fault("candidates", model)) sum += last_bits;
  }
}

template <auto Member>
auto& original() {
  static std::remove_reference_t<decltype(std::declval<Interface>().*Member)> function = nullptr;
  return function;
}

void add_faults(Interface& interface) {
  original<&Interface::open>() = interface.open;
  original<&Interface::close>() = interface.close;
  original<&Interface::finish>() = interface.finish;
  original<&Interface::compose>() = interface.compose;
  original<&Interface::compose_kept>() = interface.compose_kept;
  original<&Interface::evaluate>() = interface.evaluate;
  interface.open = [](const Request* request, Status* status) {
    Model* const model = original<&Interface::open>()(request, status);
    opened_models()[model] = {request->device, request->lanes, request->candidates, request->row_memory > 0};
    return model;
  };
  interface.close = [](Model* model) {
    opened_models().erase(model);
    original<&Interface::close>()(model);
  };
  interface.finish = [](Model* model, Status* status) {
    original<&Interface::finish>()(model, status);
    if (status->kind == 0) guarded(status, [&] { spoil_sums(model); });
  };
  interface.compose = [](Model* model, std::int32_t lane, const HostBlock* block, std::int64_t slot,
                         const std::int32_t* candidates, std::int32_t count, double* products, Status* status) {
    const auto kept = original<&Interface::compose>()(model, lane, block, slot, candidates, count, products, status);
    if (has_fault("messages", model)) std::reverse(products, products + model->model->components());
    return kept;
  };
  interface.compose_kept = [](Model* model, std::int32_t lane, std::int64_t slot, const std::int32_t* candidates,
                              std::int32_t count, double* products, Status* status) {
    original<&Interface::compose_kept>()(model, lane, slot, candidates, count, products, status);
    if (has_fault("messages", model)) std::reverse(products, products + model->model->components());
  };
  interface.evaluate = [](Model* model, std::int32_t lane, const HostBlock* block, const RowOutputs* outputs,
                          Status* status) {
    original<&Interface::evaluate>()(model, lane, block, outputs, status);
    if (block->first_row == 0 && outputs->labels && has_fault("label", model)) outputs->labels[0] ^= 1;
  };
}

void add_counts_of_rows(Interface& interface) {
  static const auto add = interface.add;
  static const auto close = interface.close;
  static std::atomic<int> kept, not_kept;
  interface.add = [](Model* model, std::int32_t lane, const HostBlock* block, std::int64_t slot, Status* status) {
    const auto was_kept = add(model, lane, block, slot, status);
    ++(was_kept ? kept : not_kept);
    return was_kept;
  };
  interface.close = [](Model* model) {
    close(model);
    std::ofstream file(std::getenv("TALLY_GENERIC_ROWS"), std::ios::app);
    file << kept.exchange(0) << " " << not_kept.exchange(0) << "\n";
  };
}

void add_sums(Interface& interface) {
  interface.id_size = 64;
  interface.make_id = [](unsigned char* id, Status* status) {
    guarded(status, [&] { copy_text("/tally-test-" + std::to_string(getpid()), reinterpret_cast<char*>(id), 64); });
  };
  interface.connect = [](std::int32_t, const unsigned char* id, std::int32_t rank, std::int32_t size, Status* status) {
    return guarded(status, [&] { return new Link(id, rank, size); });
  };
  interface.poll_connect = [](Link* link, Status* status) {
    return guarded(status, [&] {
      return static_cast<std::int32_t>(link->world->joined < link->size ? CollectiveState::waiting
                                                                        : CollectiveState::done);
    });
  };
  interface.start_sum = [](Link* link, Model* model, Status* status) {
    guarded(status, [&] { link->start(model->engine().buffer()); });
  };
  interface.poll_sum = [](Link* link, Status* status) {
    return guarded(status, [&] { return static_cast<std::int32_t>(link->poll()); });
  };
  interface.abort = [](Link* link) {
    link->aborted = true;
    if (std::getenv("TALLY_GENERIC_FAIL")) std::this_thread::sleep_for(std::chrono::seconds(2));  // as NCCL may
  };
  interface.disconnect = [](Link* link) { delete link; };
}

Registry make_registry() {
  Registry registry;
  add_builtin_models(registry);
  return registry;
}

void add_failures(Interface& interface) {
  interface.prepare = [](Model* model, std::int32_t candidate, const double* parameters, std::int64_t count,
                         Status* status) {
    static int calls = 0;
    guarded(status, [&] {
      if (++calls == 3) fail_if_told_to("prepare");
      model->engine().prepare(candidate, std::span(parameters, static_cast<std::size_t>(count)));
    });
  };
  interface.read = [](Model* model, std::int64_t first, std::int64_t* out, std::int64_t count, Status* status) {
    guarded(status, [&] {
      fail_if_told_to("read");
      model->engine().read(first, std::span(out, static_cast<std::size_t>(count)));
    });
  };
  interface.add_kept = [](Model* model, std::int32_t lane, std::int64_t slot, Status* status) {
    guarded(status, [&] {
      if (is_told_to("slow")) std::this_thread::sleep_for(std::chrono::milliseconds(300));
      model->engine().add_kept(lane, slot);
    });
  };
}

Interface make_interface() {
  Interface interface{};
  interface.version = interface_version;
#if defined(TALLY_OTHER_VERSION)
  interface.version += 1;
#endif
  interface.backend = "generic";
  interface.build = "plain loops on the host";
  interface.versions = [](char* text, std::int64_t size, Status* status) {
    guarded(status, [&] { copy_text("no driver", text, static_cast<std::size_t>(size)); });
  };
  interface.device_count = [](Status* status) { return guarded(status, [] { return std::int32_t{3}; }); };
  interface.describe_device = [](std::int32_t device, DeviceInfo* info, Status* status) {
    guarded(status, [&] {
      copy_text("host memory", info->name, sizeof info->name);
      copy_text("generic:" + std::to_string(device), info->identity, sizeof info->identity);
      info->memory_bytes = info->free_bytes = Index{1} << 32;
    });
  };
  interface.reaches = [](std::int32_t, std::int32_t, Status* status) { return guarded(status, [] { return 1; }); };
  interface.block_rows = [](std::int64_t columns) {
    const char* const blocks = std::getenv("TALLY_GENERIC_BLOCKS");
    return std::int64_t{(blocks ? std::atoi(blocks) : 2) * block_rows_for(columns)};
  };
  interface.open = [](const Request* request, Status* status) {
    static const Registry registry = make_registry();
    return guarded(status, [&] {
      fail_if_told_to("open");
      return open_model(registry, *request);
    });
  };
  add_model_functions(interface);
  add_failures(interface);
  if (std::getenv("TALLY_GENERIC_SUM")) add_sums(interface);
  if (std::getenv("TALLY_GENERIC_ROWS")) add_counts_of_rows(interface);
  if (std::getenv("TALLY_GENERIC_FAULT")) add_faults(interface);
  return interface;
}

}  // namespace
}  // namespace tally::module

extern "C" __attribute__((visibility("default"))) const tally::module::Interface* tally_module_interface() {
  static const tally::module::Interface interface = tally::module::make_interface();
  return &interface;
}
