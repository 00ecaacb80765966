#include "tests/fuzz/read_datasets.hpp"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "core/archive.hpp"
#include "core/hdf5_listing.hpp"
#include "core/hdf5_rows.hpp"
#include "tests/fuzz/inspect.hpp"
#include "tests/fuzz/refusal.hpp"

namespace tally::fuzz {
namespace {

constexpr Index most_rows = 64;
constexpr Index most_numbers = Index{1} << 16;

// Its first rows and its last.
void read_ends(const RowSource& source) {
  if (source.rows() < 0 || source.columns() < 0) throw std::logic_error("a negative shape");
  const Index count = std::min(source.rows(), most_rows);
  if (count == 0 || source.columns() == 0 || source.columns() > most_numbers / count) return;
  std::vector<double> values(static_cast<std::size_t>(count * source.columns()));
  for (const Index first : {Index{0}, source.rows() - count})
    allow_refusal([&] { source.read(first, count, values.data()); });
  source.where(source.rows() - 1);
}

void read_rows(const std::vector<std::string>& names) {
  allow_refusal([&] {
    const Hdf5Rows rows(hdf5_thread(), names);
    rows.parts();
    read_ends(rows);
  });
}

}  // namespace

void read_datasets(const std::string& file) {
  constexpr std::size_t few = 6;
  std::vector<std::string> names;
  allow_refusal([&] {
    for (const DatasetInfo& info : list_datasets(hdf5_thread(), file)) {
      if (names.size() == few) break;
      names.push_back(file + ":" + info.path);
      allow_refusal([&] { ArchiveReader(hdf5_thread(), file).get(info.path); });
      allow_refusal([&] { ArchiveReader(hdf5_thread(), file).get_integers(info.path); });
    }
  });
  for (const std::string& name : names) read_rows({name});
  read_rows(names);
  read_rows({file + ":/absent"});
}

}  // namespace tally::fuzz
