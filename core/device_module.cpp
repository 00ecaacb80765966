#include "core/device_module.hpp"

#include <dlfcn.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <type_traits>
#include <utility>

#include "core/error.hpp"

namespace tally {
namespace {

using module::Interface;
using module::Status;

// Calls a function of the interface, whose last argument is a status, and throws what that says.
template <class Function, class... Arguments>
auto call(Function* function, Arguments... arguments) {
  Status status{};
  const auto check = [&status] {
    const auto kind = static_cast<ErrorKind>(status.kind);
    if (status.kind != 0) throw_error(kind == ErrorKind::other ? ErrorKind::device : kind, status.message);
  };
  if constexpr (std::is_void_v<decltype(function(arguments..., &status))>) {
    function(arguments..., &status);
    check();
  } else {
    auto result = function(arguments..., &status);
    check();
    return result;
  }
}

// A link of this rank's device to those of the others.
class ModuleLink {
 public:
  ModuleLink(std::shared_ptr<const DeviceModule> owner, module::Link* link) : owner_(std::move(owner)), link_(link) {}
  ModuleLink(const ModuleLink&) = delete;
  ModuleLink& operator=(const ModuleLink&) = delete;
  ~ModuleLink() { owner_->interface().disconnect(link_); }
  const Interface& interface() const { return owner_->interface(); }
  module::Link* get() const { return link_; }

 private:
  std::shared_ptr<const DeviceModule> owner_;
  module::Link* link_;
};

class ModuleSum final : public DeviceCollective {
 public:
  ModuleSum(std::shared_ptr<ModuleLink> link, module::Model* model) : link_(std::move(link)), model_(model) {}
  const char* name() const noexcept override { return "the sum on the devices"; }
  void start() override { call(link_->interface().start_sum, link_->get(), model_); }
  CollectiveState poll() override {
    return static_cast<CollectiveState>(call(link_->interface().poll_sum, link_->get()));
  }
  void abort() noexcept override { link_->interface().abort(link_->get()); }

 private:
  std::shared_ptr<ModuleLink> link_;
  module::Model* model_;
};

class ModuleEngine final : public DeviceEngine {
 public:
  ModuleEngine(std::shared_ptr<const DeviceModule> owner, module::Model* model, const std::shared_ptr<ModuleLink>& link)
      : owner_(std::move(owner)), interface_(owner_->interface()), model_(model) {
    if (link) sum_.emplace(link, model);
  }
  ModuleEngine(const ModuleEngine&) = delete;
  ModuleEngine& operator=(const ModuleEngine&) = delete;
  ~ModuleEngine() override { interface_.close(model_); }

  void prepare(int candidate, std::span<const double> parameters) override {
    call(interface_.prepare, model_, candidate, parameters.data(), static_cast<Index>(parameters.size()));
  }
  void begin(std::span<const std::int32_t> candidates, std::span<const Grid> grids, Index most_blocks) override {
    call(interface_.begin, model_, candidates.data(), static_cast<std::int32_t>(candidates.size()), grids.data(),
         static_cast<Index>(grids.size()), most_blocks);
  }
  bool add(int lane, const HostBlock& block, Index slot) override {
    return call(interface_.add, model_, lane, &block, slot) != 0;
  }
  void add_kept(int lane, Index slot) override { call(interface_.add_kept, model_, lane, slot); }
  void finish() override { call(interface_.finish, model_); }
  std::vector<double> objectives() override {
    std::vector<double> result(static_cast<std::size_t>(interface_.objective_count(model_)));
    interface_.objectives(model_, result.data());
    return result;
  }
  std::vector<GridReport> reports() override {
    std::vector<GridReport> result(static_cast<std::size_t>(interface_.report_count(model_)));
    interface_.reports(model_, result.data());
    return result;
  }
  void read(Index first, std::span<std::int64_t> out) override {
    call(interface_.read, model_, first, out.data(), static_cast<Index>(out.size()));
  }
  void write(Index first, std::span<const std::int64_t> values) override {
    call(interface_.write, model_, first, values.data(), static_cast<Index>(values.size()));
  }
  // Of the module's own.
  std::span<std::int64_t> buffer() override { return {}; }
  DeviceCollective* sum_over_ranks() override { return sum_ ? &*sum_ : nullptr; }
  void evaluate(int lane, const HostBlock& block, const RowOutputs& outputs) override {
    call(interface_.evaluate, model_, lane, &block, &outputs);
  }
  bool compose(int lane, const HostBlock& block, Index slot, std::span<const std::int32_t> candidates,
               double* products) override {
    return call(interface_.compose, model_, lane, &block, slot, candidates.data(),
                static_cast<std::int32_t>(candidates.size()), products) != 0;
  }
  void compose_kept(int lane, Index slot, std::span<const std::int32_t> candidates, double* products) override {
    call(interface_.compose_kept, model_, lane, slot, candidates.data(), static_cast<std::int32_t>(candidates.size()),
         products);
  }
  void set_messages(std::span<const double> messages) override {
    call(interface_.set_messages, model_, messages.data(), static_cast<Index>(messages.size()));
  }
  Index impossible_row(int candidate) override { return call(interface_.impossible_row, model_, candidate); }
  Index memory_bytes() const noexcept override { return interface_.memory_bytes(model_); }

 private:
  std::shared_ptr<const DeviceModule> owner_;
  const Interface& interface_;
  module::Model* model_;
  std::optional<ModuleSum> sum_;
};

class ModuleConnect final : public DeviceCollective {
 public:
  using Connected = std::function<void(std::shared_ptr<ModuleLink>)>;
  ModuleConnect(std::shared_ptr<const DeviceModule> owner, int device, std::span<const std::byte> id, int rank, int size,
                Connected connected)
      : owner_(std::move(owner)),
        device_(device),
        id_(id.begin(), id.end()),
        rank_(rank),
        size_(size),
        connected_(std::move(connected)) {}
  const char* name() const noexcept override { return "connecting the devices"; }
  void start() override {
    const auto* id = reinterpret_cast<const unsigned char*>(id_.data());
    link_ = std::make_shared<ModuleLink>(owner_, call(owner_->interface().connect, device_, id, rank_, size_));
  }
  CollectiveState poll() override {
    const auto state = static_cast<CollectiveState>(call(owner_->interface().poll_connect, link_->get()));
    if (state == CollectiveState::done) connected_(link_);
    return state;
  }
  void abort() noexcept override {
    if (link_) owner_->interface().abort(link_->get());
  }

 private:
  std::shared_ptr<const DeviceModule> owner_;
  int device_;
  std::vector<std::byte> id_;
  int rank_, size_;
  Connected connected_;
  std::shared_ptr<ModuleLink> link_;
};

class ModuleDevice final : public Device {
 public:
  ModuleDevice(std::shared_ptr<const DeviceModule> owner, int number)
      : owner_(std::move(owner)),
        number_(number),
        description_(owner_->backend() + " " + std::to_string(number) + ": " + owner_->describe(number).name) {}

  const std::string& description() const noexcept override { return description_; }
  Index block_rows(Index columns) const override {
    const Index rows = owner_->interface().block_rows(columns);
    if (rows <= 0 || rows % block_rows_for(columns) != 0)
      throw DeviceError("the backend " + owner_->backend() + " cuts blocks of " + std::to_string(rows) +
                        " rows, which is no multiple of " + std::to_string(block_rows_for(columns)));
    return rows;
  }

  std::size_t id_size() const noexcept override { return static_cast<std::size_t>(owner_->interface().id_size); }
  void make_id(std::span<std::byte> id) override {
    call(owner_->interface().make_id, reinterpret_cast<unsigned char*>(id.data()));
  }
  std::unique_ptr<DeviceCollective> connect(std::span<const std::byte> id, int rank, int size) override {
    return std::make_unique<ModuleConnect>(owner_, number_, id, rank, size,
                                           [this](std::shared_ptr<ModuleLink> link) { link_ = std::move(link); });
  }

  std::unique_ptr<DeviceEngine> open(const EngineRequest& request) override {
    std::vector<const char*> names, values;
    for (const auto& [name, value] : request.options) {
      names.push_back(name.c_str());
      values.push_back(value.c_str());
    }
    const Standardisation& standardisation = request.standardisation;
    const std::vector<std::int32_t> exponent(standardisation.exponent.begin(), standardisation.exponent.end());
    module::Request wanted{};
    wanted.model = request.model.c_str();
    wanted.components = request.components;
    wanted.columns = request.columns;
    wanted.option_names = names.data();
    wanted.option_values = values.data();
    wanted.option_count = static_cast<Index>(names.size());
    wanted.centre = standardisation.centre.data();
    wanted.exponent = exponent.data();
    wanted.reference = standardisation.reference.empty() ? nullptr : standardisation.reference.data();
    wanted.device = number_;
    wanted.precision = static_cast<std::int32_t>(request.precision);
    wanted.lanes = request.lanes;
    wanted.candidates = request.candidates;
    wanted.row_memory = request.row_memory;
    wanted.parameters = request.parameters;
    wanted.statistics = request.statistics;
    const module::Request* const pointer = &wanted;
    module::Model* const model = call(owner_->interface().open, pointer);
    return std::make_unique<ModuleEngine>(owner_, model, link_);
  }

 private:
  std::shared_ptr<const DeviceModule> owner_;
  int number_;
  std::string description_;
  std::shared_ptr<ModuleLink> link_;
};

}  // namespace

std::shared_ptr<const DeviceModule> DeviceModule::load(const std::string& name,
                                                       const std::vector<std::filesystem::path>& folders) {
  const std::string file = "libtally_" + name + ".so";
  std::string looked;
  for (const std::filesystem::path& folder : folders) {
    const std::filesystem::path path = folder / file;
    looked += (looked.empty() ? "" : ", ") + folder.string();
    std::error_code ignored;
    if (!std::filesystem::exists(path, ignored)) continue;
    void* const library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library) throw DeviceError("the backend " + path.string() + " cannot be loaded: " + dlerror());
    return std::shared_ptr<const DeviceModule>(new DeviceModule(path, library));
  }
  throw DeviceError("there is no backend '" + name + "': " + file + " is not in " + looked);
}

DeviceModule::DeviceModule(std::filesystem::path path, void* library) : path_(std::move(path)), library_(library) {
  auto* const entry = reinterpret_cast<module::Entry*>(dlsym(library_, module::entry_name));
  const std::string where = path_.string();
  if (entry) interface_ = entry();
  const auto refuse = [this](const std::string& why) {
    dlclose(library_);
    throw DeviceError(why);
  };
  if (!entry) refuse(where + " is no backend of Tally: it does not export " + module::entry_name);
  if (interface_->version != module::interface_version)
    refuse("the backend " + where + " has version " + std::to_string(interface_->version) +
           " of the interface, this program version " + std::to_string(module::interface_version) +
           ": build both from the same Tally");
}

DeviceModule::~DeviceModule() { dlclose(library_); }

std::string DeviceModule::versions() const {
  char text[1024] = "";
  call(interface_->versions, +text, std::int64_t{sizeof text});
  return text;
}

int DeviceModule::device_count() const { return call(interface_->device_count); }

module::DeviceInfo DeviceModule::describe(int device) const {
  module::DeviceInfo info{};
  call(interface_->describe_device, device, &info);
  return info;
}

bool DeviceModule::reaches(int from, int to) const { return call(interface_->reaches, from, to) != 0; }

std::unique_ptr<Device> DeviceModule::device(int number) const {
  return std::make_unique<ModuleDevice>(shared_from_this(), number);
}

}  // namespace tally
