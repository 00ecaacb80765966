// Uses installed headers and libraries: fails where a header, a library or a dependency of one is missing.
#include <iostream>

#include "comm/mpi_communicator.hpp"
#include "comm/single_process.hpp"
#include "core/error.hpp"
#include "core/memory_rows.hpp"

int main() {
  const double values[] = {1, 2, 3, 4, 5, 6};
  const tally::MemoryRows rows(tally::MatrixView<const double>(values, 3, 2));
  double last[2] = {};
  rows.read(2, 1, last);
  if (last[0] != 5 || last[1] != 6) return 1;

  tally::SingleProcess alone;
  if (alone.size() != 1) return 1;

  try {
    tally::throw_error(tally::ErrorKind::data, "as expected");
  } catch (const tally::DataError& error) {
    std::cout << "an installed Tally throws " << error.what() << '\n';
    return 0;
  }
  return 1;
}
