#pragma once
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/block.hpp"
#include "core/device_engine.hpp"
#include "core/view.hpp"
#include "launch/context.hpp"

namespace tally {

// --device, with its default.
void add_device_option(CLI::App& command, std::string& wanted);
void add_precision_option(CLI::App& command, std::string& wanted);

// What this rank computes on.
struct DeviceChoice {
  std::unique_ptr<Device> device;  // null: the CPU
  std::string note;                // one line for people where there is something to say
  // The same device once more, unaware of the other ranks' devices: its engines sum over no rank.
  std::function<std::unique_ptr<Device>()> alone;

  // Rows of a block, and lanes where `threads` (0: as many as sensible) were asked for.
  Index block_rows(Index columns) const { return device ? device->block_rows(columns) : block_rows_for(columns); }
  int lanes(int threads) const;
};

// Takes "cpu", "auto" or the name of a backend. Each rank takes the device of its number among the ranks of its host,
// or the only one that it is shown. "auto" takes GPUs where every rank has one of its own, and the CPU otherwise.
// Throws DeviceError where a backend that was named has no usable device for every rank. Collective.
DeviceChoice choose_device(const std::string& wanted, CommandContext& context);

// Throws where choose_device would, and takes nothing: for what the CPU computes whatever is wanted. Collective.
void check_device(const std::string& wanted, CommandContext& context);

// Where backends are looked for: the folders of TALLY_MODULE_PATH, that of this program, and lib/tally beside it.
std::vector<std::filesystem::path> module_folders();

// Why the NVIDIA driver cannot be used, found without loading CUDA; empty where it can.
std::string why_no_nvidia_driver();

}  // namespace tally
