#include "core/npy.hpp"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "tests/fuzz/memory_file.hpp"
#include "tests/fuzz/refusal.hpp"
#include "tests/fuzz/targets.hpp"

namespace tally::fuzz {

void read_npy(Input bytes) {
  const MemoryFile file(std::as_bytes(bytes));
  allow_refusal([&] {
    const NpyRows source(file.name());
    if (source.rows() < 0 || source.columns() < 0) throw std::logic_error("a negative shape");
    if (source.columns() == 0) return;
    // Every element is a byte of the file at least.
    if (source.rows() > static_cast<Index>(bytes.size()) / source.columns())
      throw std::logic_error("more numbers than bytes");
    const Index half = source.rows() / 2;
    std::vector<double> values(static_cast<std::size_t>((source.rows() - half) * source.columns()));
    source.read(0, half, values.data());
    source.read(half, source.rows() - half, values.data());
  });
}

}  // namespace tally::fuzz
