#pragma once
#include <cstdint>
#include <type_traits>

#include "core/device_engine.hpp"

// What passes between the command and a backend that it loads at run time: plain C types, no exception, nothing of the
// standard library. A module exports one function of this name, which returns its interface:
//   extern "C" const tally::module::Interface* tally_module_interface();
// docs/backends.md says how to build one.
namespace tally::module {

// Grows with every change of anything in this header or of the structures that it takes from device_engine.hpp.
inline constexpr std::int32_t interface_version = 5;
inline constexpr char entry_name[] = "tally_module_interface";

// How a call went: kind 0 is well, anything else an ErrorKind.
struct Status {
  std::int32_t kind;
  char message[1020];
};

struct DeviceInfo {
  char name[128];
  char identity[64];   // the same for the same device wherever it is seen from: a GPU's PCI bus id
  char unusable[256];  // why it cannot be used; empty where it can
  std::int64_t memory_bytes;
  std::int64_t free_bytes;
  std::int32_t major;  // compute capability
  std::int32_t minor;
  std::int32_t multiprocessors;
};

struct Request {
  const char* model;
  std::int64_t components;
  std::int64_t columns;
  const char* const* option_names;
  const char* const* option_values;
  std::int64_t option_count;
  const double* centre;           // (columns), as exponent and reference: see Standardisation
  const std::int32_t* exponent;
  const double* reference;        // or null
  std::int32_t device;
  std::int32_t precision;         // 0: double, 1: single, 2: single with products that may round to TF32
  std::int32_t lanes;
  std::int32_t candidates;
  std::int64_t row_memory;        // bytes; 0: what the device has
  std::int64_t parameters;        // sizes that both sides must agree on
  std::int64_t statistics;
};

struct Model;  // a bound model of the module's
struct Link;   // a means of the module's to sum over ranks

// Every call fills the status that it is given. What a call on a Model does is what the member of DeviceEngine of that
// name does.
struct Interface {
  std::int32_t version;
  const char* backend;  // "cuda"
  const char* build;    // what it was built with, for people
  // Versions of drivers and libraries at run time, one line, for people.
  void (*versions)(char* text, std::int64_t size, Status*);

  std::int32_t (*device_count)(Status*);
  void (*describe_device)(std::int32_t device, DeviceInfo*, Status*);
  // 1 where a device can read the memory of another directly.
  std::int32_t (*reaches)(std::int32_t from, std::int32_t to, Status*);
  // Rows of a block: a function of the number of columns alone, and a multiple of what block_rows_for gives, so that
  // the first scan has the same bits whatever computes.
  std::int64_t (*block_rows)(std::int64_t columns);

  Model* (*open)(const Request*, Status*);
  void (*close)(Model*);
  void (*prepare)(Model*, std::int32_t candidate, const double* parameters, std::int64_t count, Status*);
  void (*begin)(Model*, const std::int32_t* candidates, std::int32_t candidate_count, const Grid* grids,
                std::int64_t grid_count, std::int64_t most_blocks, Status*);
  std::int32_t (*add)(Model*, std::int32_t lane, const HostBlock*, std::int64_t slot, Status*);
  void (*add_kept)(Model*, std::int32_t lane, std::int64_t slot, Status*);
  void (*finish)(Model*, Status*);
  std::int64_t (*objective_count)(Model*);
  void (*objectives)(Model*, double* out);
  std::int64_t (*report_count)(Model*);
  void (*reports)(Model*, GridReport* out);
  void (*read)(Model*, std::int64_t first, std::int64_t* out, std::int64_t count, Status*);
  void (*write)(Model*, std::int64_t first, const std::int64_t* values, std::int64_t count, Status*);
  std::int32_t (*compose)(Model*, std::int32_t lane, const HostBlock*, std::int64_t slot, const std::int32_t* candidates,
                          std::int32_t candidate_count, double* products, Status*);
  void (*compose_kept)(Model*, std::int32_t lane, std::int64_t slot, const std::int32_t* candidates,
                       std::int32_t candidate_count, double* products, Status*);
  void (*set_messages)(Model*, const double* messages, std::int64_t count, Status*);
  std::int64_t (*impossible_row)(Model*, std::int32_t candidate, Status*);
  void (*evaluate)(Model*, std::int32_t lane, const HostBlock*, const RowOutputs*, Status*);
  std::int64_t (*memory_bytes)(Model*);

  // Sums over ranks on the devices. id_size is 0 where the module has no means to; the members after it are null then.
  // `connect` and `start_sum` return at once; their `poll` tells how far they are (a CollectiveState).
  std::int64_t id_size;
  void (*make_id)(unsigned char* id, Status*);
  Link* (*connect)(std::int32_t device, const unsigned char* id, std::int32_t rank, std::int32_t size, Status*);
  std::int32_t (*poll_connect)(Link*, Status*);
  void (*start_sum)(Link*, Model*, Status*);
  std::int32_t (*poll_sum)(Link*, Status*);
  void (*abort)(Link*);
  void (*disconnect)(Link*);
};

using Entry = const Interface*();

static_assert(std::is_standard_layout_v<HostBlock> && std::is_trivially_copyable_v<HostBlock>);
static_assert(std::is_standard_layout_v<Piece> && std::is_trivially_copyable_v<Piece>);
static_assert(std::is_standard_layout_v<RowOutputs> && std::is_trivially_copyable_v<RowOutputs>);
static_assert(std::is_standard_layout_v<Grid> && std::is_trivially_copyable_v<Grid>);
static_assert(std::is_standard_layout_v<GridReport> && std::is_trivially_copyable_v<GridReport>);

}  // namespace tally::module
