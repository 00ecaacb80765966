#include "tests/fuzz/inspect.hpp"
#include "tests/fuzz/memory_file.hpp"
#include "tests/fuzz/read_datasets.hpp"
#include "tests/fuzz/recipe.hpp"
#include "tests/fuzz/targets.hpp"

namespace tally::fuzz {

void read_hdf5(Input recipe) {
  hdf5_thread().run([&] {
    const MemoryFile file(file_of_recipe(text_of(recipe)));
    const OpenHandles handles;
    read_datasets(file.name());
    print_info(file.name());
    handles.require_closed();
  });
}

}  // namespace tally::fuzz
