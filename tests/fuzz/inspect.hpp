#pragma once
#include <string>

#include "algorithms/registry.hpp"
#include "core/io_executor.hpp"

namespace tally::fuzz {

// The one thread for HDF5, which targets run on all along, since handing over each call takes longer than the call; and every
// model. Made once for all inputs.
IoExecutor& hdf5_thread();
const Registry& all_models();

// `tally info FILE`, as a table and as JSON. What may be refused is.
void print_info(const std::string& file);

// Throws where HDF5 has more open than when this was made: a leak that no sanitizer sees.
class OpenHandles {
 public:
  OpenHandles() : before_(count()) {}
  void require_closed() const;

 private:
  static long long count();

  long long before_;
};

}  // namespace tally::fuzz
