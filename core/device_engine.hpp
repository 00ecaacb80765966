#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "core/block.hpp"
#include "core/block_plan.hpp"
#include "core/device_collective.hpp"
#include "core/error.hpp"
#include "core/exact_sum.hpp"
#include "core/standardisation.hpp"
#include "core/view.hpp"

namespace tally {

// A block of rows as a device takes it: standardised, in host memory.
struct HostBlock {
  Index first_row = 0;  // global
  Index rows = 0;
  Index columns = 0;
  const void* x = nullptr;          // (rows, D), float or double as the engine's precision says
  const double* weights = nullptr;  // (rows) or null
  const double* offsets = nullptr;  // (rows) or null
  const double* given = nullptr;    // (rows, given columns) or null: labels or responsibilities in the posterior's place
  Index given_columns = 0;
  const unsigned char* missing = nullptr;  // (rows), 1: a step that was not observed, zeros stand in x; or null
  const double* known = nullptr;           // (rows), components that hold beside the model, -1: unknown; or null
  // Of rows that lie in sequences.
  const Piece* pieces = nullptr;           // what the block holds of which sequences, in order
  Index piece_count = 0;
};

// Where the results of a block's rows go, in host memory; null pointers are not computed.
struct RowOutputs {
  std::int32_t* labels = nullptr;      // (rows)
  double* objectives = nullptr;        // (rows)
  double* responsibilities = nullptr;  // (rows, K)
  bool filtered = false;  // of sequences: given the steps up to each row alone
};

// A model's computing half on one device: blocks of rows go in, sums come out, and neither files nor ranks are known to
// it. Lanes are numbered from 0; calls for different lanes may come from different threads, all others from one. A call
// throws DeviceError where the device refuses or breaks.
class DeviceEngine {
 public:
  virtual ~DeviceEngine() = default;

  // The parameters of a candidate, from here on.
  virtual void prepare(int candidate, std::span<const double> parameters) = 0;

  // Begins a pass for these candidates: clears their sums. One grid for each field of the statistics; `most_blocks` is
  // how many blocks may be added.
  virtual void begin(std::span<const std::int32_t> candidates, std::span<const Grid> grids, Index most_blocks) = 0;
  // Adds a block, with the model's own posterior or, where the block has them, with given labels or responsibilities.
  // `block` may be reused after the call. Keeps the rows on the device under the number `slot` where that is not
  // negative and there is room; tells whether it did.
  virtual bool add(int lane, const HostBlock& block, Index slot) = 0;
  // Adds a block that was kept.
  virtual void add_kept(int lane, Index slot) = 0;
  // Waits for all lanes and merges them: from here on the sums can be read.
  virtual void finish() = 0;

  // The objectives of the blocks added since `begin`, in any order: (blocks, candidates of the pass).
  virtual std::vector<double> objectives() = 0;
  // What happened while statistics were added: (candidates of the pass, fields).
  virtual std::vector<GridReport> reports() = 0;
  // The flat buffer of integers in the layout of Tally: this engine writes the statistics' limbs, the rest is the host's
  // to write before a sum over ranks.
  virtual void read(Index first, std::span<std::int64_t> out) = 0;
  virtual void write(Index first, std::span<const std::int64_t> values) = 0;
  // Sums that buffer over ranks where it lies; null where there is no such means.
  virtual DeviceCollective* sum_over_ranks() { return nullptr; }

  // That buffer in the device's memory, for a means to sum it that the engine does not know.
  virtual std::span<std::int64_t> buffer() = 0;

  // Where sequences are cut, before a pass: what each piece of a block does to a message under these candidates, as
  // ChainProducts has it: (candidates, pieces, K + 1, K). Keeps the rows as `add` does.
  virtual bool compose(int /*lane*/, const HostBlock&, Index /*slot*/, std::span<const std::int32_t> /*candidates*/,
                       double* /*products*/) {
    throw UsageError("rows of this model are independent of each other");
  }
  virtual void compose_kept(int /*lane*/, Index /*slot*/, std::span<const std::int32_t> /*candidates*/,
                            double* /*products*/) {
    throw UsageError("rows of this model are independent of each other");
  }
  // And then the messages at all pieces, for the pass: (candidates, pieces, 2, K), as ChainMessages has them.
  virtual void set_messages(std::span<const double>) {}
  // The first row that the last pass found impossible under a candidate; -1: none, or not known.
  virtual Index impossible_row(int /*candidate*/) { return -1; }

  // Results of each row under candidate 0. `block` and `outputs` may be reused after the call.
  virtual void evaluate(int lane, const HostBlock& block, const RowOutputs& outputs) = 0;

  // Bytes of device memory held.
  virtual Index memory_bytes() const noexcept = 0;
};

// What an engine is made for.
struct EngineRequest {
  std::string model;
  Index components = 0;
  Index columns = 0;
  std::vector<std::pair<std::string, std::string>> options;
  Standardisation standardisation;
  Precision precision = Precision::double_precision;
  int lanes = 1;
  int candidates = 1;
  Index row_memory = 0;   // bytes of rows to keep at most; 0: what the device has
  // Sizes of the model's buffers, which both sides must agree on.
  Index parameters = 0;
  Index statistics = 0;
};

// A device that computes for this rank.
class Device {
 public:
  virtual ~Device() = default;
  // "cuda 0: NVIDIA H200", for people.
  virtual const std::string& description() const noexcept = 0;
  // Rows of a block: a function of the number of columns alone, and a multiple of the CPU's.
  virtual Index block_rows(Index columns) const = 0;

  // How the devices of all ranks come to sum over ranks: rank 0 makes an id of id_size() bytes, all ranks get it and
  // complete what `connect` returns. Engines opened after that sum on the devices. 0 where the device has no such means.
  virtual std::size_t id_size() const noexcept { return 0; }
  virtual void make_id(std::span<std::byte>) {}
  virtual std::unique_ptr<DeviceCollective> connect(std::span<const std::byte> id, int rank, int size) = 0;

  // Throws UsageError where the device knows no such model, DeviceError where it has too little memory.
  virtual std::unique_ptr<DeviceEngine> open(const EngineRequest& request) = 0;
};

}  // namespace tally
