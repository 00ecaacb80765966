#include <fmt/format.h>

#include <CLI/App.hpp>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>

#include "core/device_module.hpp"
#include "core/error.hpp"
#include "launch/context.hpp"
#include "launch/device_choice.hpp"
#include "launch/output.hpp"
#include "launch/resources.hpp"

namespace tally {
namespace {

nlohmann::json describe_backend(const std::string& name) {
  nlohmann::json result{{"backend", name}, {"devices", nlohmann::json::array()}};
  try {
    if (name == "cuda")
      if (const std::string why = why_no_nvidia_driver(); !why.empty()) throw DeviceError(why);
    const auto loaded = DeviceModule::load(name, module_folders());
    result["module"] = loaded->path().string();
    result["build"] = loaded->build();
    result["versions"] = loaded->versions();
    const int count = loaded->device_count();
    for (int device = 0; device < count; ++device) {
      const module::DeviceInfo info = loaded->describe(device);
      nlohmann::json reaches = nlohmann::json::array();
      for (int other = 0; other < count; ++other)
        if (other != device && loaded->reaches(device, other)) reaches.push_back(other);
      nlohmann::json entry{{"number", device},
                           {"name", info.name},
                           {"identity", info.identity},
                           {"memory_bytes", info.memory_bytes},
                           {"free_bytes", info.free_bytes},
                           {"multiprocessors", info.multiprocessors},
                           {"peers", std::move(reaches)}};
      if (info.major > 0) entry["compute_capability"] = fmt::format("{}.{}", info.major, info.minor);
      if (info.unusable[0] != 0) entry["unusable"] = info.unusable;
      result["devices"].push_back(std::move(entry));
    }
    if (count == 0) result["unusable"] = "no device";
  } catch (const DeviceError& error) {
    result["unusable"] = error.what();
  }
  return result;
}

void print_backend(const nlohmann::json& backend) {
  const auto name = backend["backend"].get<std::string>();
  if (backend.contains("module"))
    fmt::print("{}: {}\n  built with {}; {}\n", name, backend["module"].get<std::string>(),
               backend["build"].get<std::string>(), backend["versions"].get<std::string>());
  for (const nlohmann::json& device : backend["devices"]) {
    fmt::print("  {} {}: {} ({}), {} of {} free", name, device["number"].get<int>(), device["name"].get<std::string>(),
               device["identity"].get<std::string>(), format_bytes(device["free_bytes"].get<Index>()),
               format_bytes(device["memory_bytes"].get<Index>()));
    if (device.contains("compute_capability"))
      fmt::print(", compute capability {}, {} multiprocessors", device["compute_capability"].get<std::string>(),
                 device["multiprocessors"].get<int>());
    if (!device["peers"].empty()) fmt::print(", reaches {}", device["peers"].dump());
    if (device.contains("unusable")) fmt::print("; not usable: {}", device["unusable"].get<std::string>());
    fmt::print("\n");
  }
  if (backend.contains("unusable")) fmt::print("{}: not usable: {}\n", name, backend["unusable"].get<std::string>());
}

}  // namespace

void add_devices_command(CLI::App& app, const Choose& choose) {
  CLI::App* command = app.add_subcommand("devices", "List the processors and GPUs of this host, and what is amiss");
  struct Words {
    std::string backend = "cuda";
    bool json = false;
  };
  const auto words = std::make_shared<Words>();
  command->add_option("--backend", words->backend, "The backend whose devices are listed")->capture_default_str();
  command->add_flag("--json", words->json, "Print the list as JSON");
  command->callback([words, choose] {
    choose([words](CommandContext& context) {
      if (!context.is_root()) return 0;
      const nlohmann::json backend = describe_backend(words->backend);
      if (words->json) {
        const nlohmann::json all{{"cpu", {{"threads", default_threads()}, {"memory_bytes", default_memory()}}},
                                 {"backends", {backend}}};
        fmt::print("{}\n", all.dump(2));
        return 0;
      }
      fmt::print("cpu: {} {}, {} for rows unless asked otherwise\n", default_threads(),
                 default_threads() == 1 ? "thread" : "threads", format_bytes(default_memory()));
      print_backend(backend);
      return 0;
    });
  });
}

}  // namespace tally
