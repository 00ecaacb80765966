#include "launch/model_file.hpp"
#include "tests/fuzz/inspect.hpp"
#include "tests/fuzz/memory_file.hpp"
#include "tests/fuzz/recipe.hpp"
#include "tests/fuzz/refusal.hpp"
#include "tests/fuzz/sealed_file.hpp"
#include "tests/fuzz/targets.hpp"

namespace tally::fuzz {

// A model file has a checksum where the recipe has the line "seal".
void read_model(Input recipe) {
  hdf5_thread().run([&] {
    const std::string_view text = text_of(recipe);
    std::vector<std::byte> bytes = file_of_recipe(text);
    if (!lines_with(text, "seal").empty()) bytes = sealed_file(bytes, text);
    const MemoryFile file(bytes);
    const OpenHandles handles;
    allow_refusal([&] {
      const LoadedModel loaded = load_model(hdf5_thread(), file.name(), all_models());
      loaded.model->describe(loaded.parameters);
      loaded.model->moments(loaded.parameters);
    });
    print_info(file.name());
    handles.require_closed();
  });
}

}  // namespace tally::fuzz
