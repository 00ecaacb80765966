#pragma once
#include <string>

#include "core/error.hpp"

namespace tally {

// An archive that could be read and is not what was written: not one that the system could not read, nor a newer Tally's.
class DamageError : public DataError {
 public:
  using DataError::DataError;
};

// Whether a file begins as those of ArchiveWriter do, with a checksum of the rest. Throws DataError where it cannot be read.
bool has_checksum(const std::string& file);

}  // namespace tally
