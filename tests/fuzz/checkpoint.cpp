#include "launch/checkpoint.hpp"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "tests/fuzz/inspect.hpp"
#include "tests/fuzz/recipe.hpp"
#include "tests/fuzz/refusal.hpp"
#include "tests/fuzz/sealed_file.hpp"
#include "tests/fuzz/targets.hpp"

namespace tally::fuzz {
namespace {

// A folder that is removed at the end.
class Folder {
 public:
  Folder() : path_((std::filesystem::temp_directory_path() / "tally-fuzz-XXXXXX").string()) {
    if (!mkdtemp(path_.data())) throw std::runtime_error("no folder can be made");
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// What `tally fit --resume` does before the first iteration.
void resume(const std::string& folder, const std::string& file) {
  std::vector<DamagedCheckpoint> damaged;
  auto found = CheckpointFolder(hdf5_thread(), folder).load_newest(damaged);
  if (!found) return;
  const LoadedModel loaded = load_model(hdf5_thread(), file, all_models());
  const std::vector<const Model*> models(std::max<std::size_t>(1, found->states.size()), loaded.model.get());
  const std::size_t starts = found->states.empty() ? 1 : found->states.front().candidates.size();
  check_states(*found, models, static_cast<int>(starts));
  for (FitState& state : found->states) {
    let_go_on(state, FitOptions{}, found->record.total_weight);
    best_candidate(*loaded.model, state);
  }
}

}  // namespace

void read_checkpoint(Input recipe) {
  hdf5_thread().run([&] {
    static const Folder folder;
    const std::string file = folder.path() + "/checkpoint-00000002.h5";
    const std::vector<std::byte> bytes = sealed_file(file_of_recipe(text_of(recipe)), text_of(recipe));
    std::ofstream(file, std::ios::binary)
        .write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
    const OpenHandles handles;
    allow_refusal([&] { resume(folder.path(), file); });
    print_info(file);
    handles.require_closed();
  });
}

}  // namespace tally::fuzz
