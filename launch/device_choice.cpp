#include "launch/device_choice.hpp"

#include <dlfcn.h>
#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdlib>
#include <exception>
#include <optional>
#include <set>
#include <sstream>

#include "comm/agreement.hpp"
#include "comm/device_wait.hpp"
#include "core/device_module.hpp"
#include "core/error.hpp"
#include "launch/resources.hpp"

namespace tally {
namespace {

// More streams than this bring nothing: each has a workspace of its own on the device.
constexpr int most_device_lanes = 4;

struct Found {
  std::shared_ptr<const DeviceModule> loaded;
  int number = 0;
  std::string identity;  // host and device
};

void check_word(const std::string& wanted) {
  if (wanted.empty() || wanted.find_first_of("/.") != std::string::npos)
    throw UsageError("--device takes cpu, auto, cuda or the name of another backend, not '" + wanted + "'");
}

// This rank's device of a backend. Throws DeviceError.
Found find_device(const std::string& backend, const Communicator& communicator) {
  if (backend == "cuda")
    if (const std::string why = why_no_nvidia_driver(); !why.empty()) throw DeviceError("no usable GPU: " + why);
  Found found;
  found.loaded = DeviceModule::load(backend, module_folders());
  const int count = found.loaded->device_count();
  if (count == 0) throw DeviceError("the backend " + backend + " finds no device");
  found.number = communicator.node_rank() % count;
  const module::DeviceInfo info = found.loaded->describe(found.number);
  if (info.unusable[0] != 0)
    throw DeviceError(fmt::format("{} {} ({}) is not usable: {}", backend, found.number, info.name, info.unusable));
  found.identity = communicator.host_name() + " " + info.identity;
  return found;
}

// Whether every rank has a device of its own. Collective.
bool all_different(const std::string& identity, Communicator& communicator) {
  const auto* bytes = reinterpret_cast<const std::byte*>(identity.data());
  std::set<std::string> different;
  const auto all = communicator.gather({bytes, identity.size()});
  for (const auto& each : all) different.emplace(reinterpret_cast<const char*>(each.data()), each.size());
  std::byte answer{different.size() == all.size()};
  communicator.broadcast({&answer, 1}, 0);
  return answer != std::byte{0};
}

void link_devices(Device& device, Communicator& communicator) {
  std::vector<std::byte> id(device.id_size());
  share_id(id, [&](std::span<std::byte> made) { device.make_id(made); }, communicator);
  const auto connect = device.connect(id, communicator.rank(), communicator.size());
  wait_for(*connect, communicator);
}

}  // namespace

void add_device_option(CLI::App& command, std::string& wanted) {
  command.add_option("--device", wanted,
                     "cpu, cuda (a GPU for each rank), auto (GPUs where every rank has one), or another backend")
      ->capture_default_str();
}

void add_precision_option(CLI::App& command, std::string& wanted) {
  command.add_option("--precision", wanted,
                     "double; single: blocks in float, sums exact all the same; tf32: single whose matrix products on a GPU "
                     "round what they multiply to 11 bits (the CPU computes single; k-means labels stay exact)")
      ->capture_default_str()
      ->check(CLI::IsMember(precision_names()));
}

int DeviceChoice::lanes(int threads) const {
  if (!device) return threads > 0 ? threads : default_threads();
  return threads > 0 ? threads : std::min(default_threads(), most_device_lanes);
}

std::vector<std::filesystem::path> module_folders() {
  std::vector<std::filesystem::path> folders;
  if (const char* path = std::getenv("TALLY_MODULE_PATH")) {
    std::istringstream words(path);
    for (std::string folder; std::getline(words, folder, ':');)
      if (!folder.empty()) folders.emplace_back(folder);
  }
  std::error_code ignored;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", ignored);
  if (!program.empty()) {
    folders.push_back(program.parent_path());
    folders.push_back(program.parent_path().parent_path() / "lib" / "tally");
  }
  return folders;
}

std::string why_no_nvidia_driver() {
  void* const driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL);
  if (!driver) return "no NVIDIA driver is installed (libcuda.so.1 cannot be loaded)";
  using Init = int(unsigned);
  using Count = int(int*);
  auto* const init = reinterpret_cast<Init*>(dlsym(driver, "cuInit"));
  auto* const count = reinterpret_cast<Count*>(dlsym(driver, "cuDeviceGetCount"));
  if (!init || !count) return "libcuda.so.1 is not NVIDIA's driver";
  if (const int code = init(0); code != 0) return fmt::format("the NVIDIA driver does not start (cuInit gave {})", code);
  int devices = 0;
  if (const int code = count(&devices); code != 0)
    return fmt::format("the NVIDIA driver cannot count devices (cuDeviceGetCount gave {})", code);
  return devices == 0 ? "the NVIDIA driver finds no GPU (is CUDA_VISIBLE_DEVICES empty?)" : "";
}

DeviceChoice choose_device(const std::string& wanted, CommandContext& context) {
  DeviceChoice choice;
  if (wanted == "cpu") return choice;
  check_word(wanted);
  Communicator& communicator = context.communicator;
  const bool automatic = wanted == "auto";
  Found found;
  std::optional<std::string> why;
  const auto find = [&] { found = find_device(automatic ? "cuda" : wanted, communicator); };
  if (automatic) {
    std::int64_t without = 0;
    try {
      find();
    } catch (const std::exception& error) {
      why = error.what();
      without = 1;
    }
    communicator.sum(std::span(&without, 1));
    if (without > 0) {
      choice.note = fmt::format("running on the CPU: {}",
                                why ? *why : fmt::format("{} of {} ranks have no GPU", without, communicator.size()));
      return choice;
    }
  } else {
    agree(communicator, find);
  }
  const bool own = all_different(found.identity, communicator);
  if (automatic && !own) {
    choice.note = "running on the CPU: there are more ranks than GPUs on some host";
    return choice;
  }
  choice.alone = [found] { return found.loaded->device(found.number); };
  agree(communicator, [&] { choice.device = choice.alone(); });
  choice.note = "running on " + choice.device->description();
  if (communicator.size() == 1) return choice;
  // Modules of different hosts may differ in what they can: all ranks link or none.
  const auto size = static_cast<std::int64_t>(choice.device->id_size());
  std::array<std::int64_t, 2> extremes = {size, -size};
  communicator.sum_and_max({}, extremes);
  if (!own)
    choice.note += "; ranks share devices, and sum through MPI";
  else if (extremes[0] > 0 && extremes[0] == -extremes[1])
    link_devices(*choice.device, communicator);
  return choice;
}

void check_device(const std::string& wanted, CommandContext& context) {
  if (wanted == "cpu" || wanted == "auto") return;
  check_word(wanted);
  agree(context.communicator, [&] { find_device(wanted, context.communicator); });
}

}  // namespace tally
