#include "launch/checkpoint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "core/durable_file.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

constexpr const char* prefix = "checkpoint-";
constexpr std::size_t kept = 2;

std::string candidate_path(std::size_t c) { return fmt::format("/checkpoint/candidates/{:04}", c); }

Array vector_array(const std::vector<double>& values) { return {{static_cast<Index>(values.size())}, values}; }

void write_state(ArchiveWriter& archive, const Checkpoint& checkpoint) {
  const FitState& state = checkpoint.state;
  archive.attribute("/checkpoint", "options_hash", checkpoint.options_hash);
  archive.attribute("/checkpoint", "iteration", std::int64_t{state.iteration});
  const std::vector<std::int64_t> exponents(state.exponents.begin(), state.exponents.end());
  archive.put("/checkpoint/exponents", std::span(exponents));
  for (std::size_t c = 0; c < state.candidates.size(); ++c) {
    const Candidate& candidate = state.candidates[c];
    const std::string path = candidate_path(c);
    archive.put(path + "/parameters", vector_array(candidate.parameters));
    archive.put(path + "/trace", vector_array(candidate.trace));
    archive.attribute(path, "reason", std::int64_t{static_cast<int>(candidate.reason)});
    archive.attribute(path, "m_steps", std::int64_t{candidate.m_steps});
    archive.attribute(path, "failure", candidate.failure);
  }
}

// Without one a file is read as it is: good for other programs' files, but every checkpoint has one.
bool has_checksum(const std::string& file) {
  std::string line;
  return std::getline(std::ifstream(file, std::ios::binary), line) && line.starts_with("tally archive ");
}

Checkpoint read_checkpoint(const ArchiveReader& archive) {
  if (!has_checksum(archive.file())) throw DataError(archive.file() + " is damaged (its checksum is gone)");
  Checkpoint checkpoint;
  checkpoint.record = read_record(archive);
  checkpoint.options_hash = archive.text_attribute("/checkpoint", "options_hash").value_or("");
  FitState& state = checkpoint.state;
  state.iteration = static_cast<int>(archive.integer_attribute("/checkpoint", "iteration").value_or(0));
  for (const std::int64_t exponent : archive.get_integers("/checkpoint/exponents"))
    state.exponents.push_back(static_cast<int>(exponent));
  const std::size_t count = archive.list("/checkpoint/candidates").size();
  for (std::size_t c = 0; c < count; ++c) {
    const std::string path = candidate_path(c);
    Candidate candidate;
    candidate.parameters = archive.get(path + "/parameters").values;
    candidate.trace = archive.get(path + "/trace").values;
    candidate.reason = static_cast<StopReason>(archive.integer_attribute(path, "reason").value_or(0));
    candidate.m_steps = static_cast<int>(archive.integer_attribute(path, "m_steps").value_or(0));
    candidate.failure = archive.text_attribute(path, "failure").value_or("");
    state.candidates.push_back(std::move(candidate));
  }
  return checkpoint;
}

}  // namespace

void CheckpointFolder::create() const {
  std::error_code failure;
  std::filesystem::create_directories(folder_, failure);
  if (failure || !std::filesystem::is_directory(folder_))
    throw DataError("the checkpoint folder " + folder_ + " cannot be made: " + failure.message());
  const DurableFile probe(folder_ + "/" + prefix + "probe.h5");
}

void CheckpointFolder::remove_unfinished() const {
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, failure)) {
    const std::string name = entry.path().filename().string();
    std::error_code ignored;
    if (name.starts_with(prefix) && name.find(".h5.tmp-") != std::string::npos)
      std::filesystem::remove(entry.path(), ignored);
  }
}

bool CheckpointFolder::empty() const { return files().empty(); }

std::vector<std::string> CheckpointFolder::files() const {
  std::vector<std::string> found;
  std::error_code failure;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, failure)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with(prefix) && name.ends_with(".h5")) found.push_back(entry.path().string());
  }
  std::sort(found.rbegin(), found.rend());
  return found;
}

void CheckpointFolder::save(const Checkpoint& checkpoint) const {
  ArchiveWriter archive(io_);
  write_record(archive, checkpoint.record);
  write_state(archive, checkpoint);
  const std::string saved = fmt::format("{}/{}{:08}.h5", folder_, prefix, checkpoint.state.iteration);
  archive.save(saved);
  // Later ones were damaged, or this fit would have gone on from them.
  std::size_t left = kept;
  for (const std::string& file : files()) {
    std::error_code ignored;
    if (file > saved || left == 0)
      std::filesystem::remove(file, ignored);
    else
      --left;
  }
}

std::optional<Checkpoint> CheckpointFolder::load_newest(std::vector<std::string>& notes) const {
  for (const std::string& file : files()) {
    try {
      return read_checkpoint(ArchiveReader(io_, file));
    } catch (const DataError& error) {
      notes.push_back(std::string("skipping a checkpoint: ") + error.what());
    }
  }
  return std::nullopt;
}

}  // namespace tally
