#pragma once
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "core/device_engine.hpp"
#include "core/module_interface.hpp"

namespace tally {

// A backend loaded at run time. Stays loaded until the last device, engine and link of it is gone.
class DeviceModule : public std::enable_shared_from_this<DeviceModule> {
 public:
  // Loads libtally_NAME.so from the first of `folders` that has it. Throws DeviceError: none has it, it needs a library
  // that is not there, or it was built for another version of Tally.
  static std::shared_ptr<const DeviceModule> load(const std::string& name,
                                                  const std::vector<std::filesystem::path>& folders);
  DeviceModule(const DeviceModule&) = delete;
  DeviceModule& operator=(const DeviceModule&) = delete;
  ~DeviceModule();

  const std::filesystem::path& path() const noexcept { return path_; }
  std::string backend() const { return interface_->backend; }
  std::string build() const { return interface_->build; }
  std::string versions() const;

  // Throw DeviceError.
  int device_count() const;
  module::DeviceInfo describe(int device) const;
  bool reaches(int from, int to) const;
  // The device of that number as this process sees them.
  std::unique_ptr<Device> device(int number) const;

  const module::Interface& interface() const noexcept { return *interface_; }

 private:
  DeviceModule(std::filesystem::path path, void* library);

  std::filesystem::path path_;
  void* library_;
  const module::Interface* interface_ = nullptr;
};

}  // namespace tally
