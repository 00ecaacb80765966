#include "core/csv.hpp"

#include "core/block.hpp"
#include "tests/fuzz/memory_file.hpp"
#include "tests/fuzz/refusal.hpp"
#include "tests/fuzz/targets.hpp"

namespace tally::fuzz {

void read_csv(Input text) {
  const MemoryFile file(std::as_bytes(text));
  allow_refusal([&] {
    CsvReader reader(file.name());
    const Index rows = reader.count_rows();
    std::vector<double> values;
    for (const Index most : {Index{3}, block_rows_for(reader.columns())}) {
      Index found = 0;
      while (const Index count = reader.read(most, values)) {
        if (values.size() != static_cast<std::size_t>(count * reader.columns()))
          throw std::logic_error("a row lacks numbers");
        found += count;
      }
      if (found != rows) throw std::logic_error("rows were counted otherwise than they are read");
      reader.rewind();
    }
  });
}

}  // namespace tally::fuzz
