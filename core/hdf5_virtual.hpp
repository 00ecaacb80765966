#pragma once
#include <string>
#include <vector>

#include "core/hdf5_handle.hpp"
#include "core/view.hpp"

namespace tally {

// Rows of a virtual data set, and where they lie.
struct VirtualPart {
  std::string file, path;
  Index first_row = 0;   // in the virtual data set
  Index rows = 0;
  Index source_row = 0;  // the first of them in the source
  bool whole_source = true;
};

bool is_virtual(hid_t dataset);
// The parts of the virtual data set of this `name` in `file`, by rows. Throws DataError unless they are whole rows and
// hold each row once: where something is missing HDF5 itself delivers fill values without a word.
std::vector<VirtualPart> virtual_parts(hid_t dataset, const std::string& file, const std::string& name);

}  // namespace tally
