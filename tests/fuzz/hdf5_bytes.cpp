#include "tests/fuzz/inspect.hpp"
#include "tests/fuzz/memory_file.hpp"
#include "tests/fuzz/read_datasets.hpp"
#include "tests/fuzz/targets.hpp"

namespace tally::fuzz {

void read_hdf5_bytes(Input bytes) {
  hdf5_thread().run([&] {
    const MemoryFile file(std::as_bytes(bytes));
    read_datasets(file.name());
    print_info(file.name());
  });
}

}  // namespace tally::fuzz
