#include "launch/checkpoint.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <filesystem>
#include <string_view>

#include "core/archive_damage.hpp"
#include "core/durable_file.hpp"
#include "core/error.hpp"
#include "launch/sequence_inputs.hpp"

namespace tally {
namespace {

constexpr const char* probe_name = "checkpoint-probe.h5";
constexpr std::size_t kept = 2;

std::string name_of(std::int64_t number) { return fmt::format("checkpoint-{:08}.h5", number); }

// The number of a file that `save` has named; of any other, nothing.
std::optional<std::int64_t> number_of(const std::string& name) {
  const std::size_t digits = name.find_first_of("0123456789");
  if (digits == std::string::npos) return std::nullopt;
  std::int64_t number = 0;
  std::from_chars(name.data() + digits, name.data() + name.size(), number);
  return name == name_of(number) ? std::optional(number) : std::nullopt;
}

// Of a file that was to become a checkpoint.
bool is_unfinished(const std::string& name) {
  const std::string mark = ".tmp-";
  const std::size_t at = name.rfind(mark);
  if (at == std::string::npos) return false;
  const std::string target = name.substr(0, at), suffix = name.substr(at + mark.size());
  return (target == probe_name || number_of(target)) && suffix.size() == 8 &&
         std::all_of(suffix.begin(), suffix.end(), [](unsigned char digit) { return std::isxdigit(digit) != 0; });
}

// The names in a folder; none where there is no folder. Throws DataError.
std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code failure;
  auto entry = std::filesystem::directory_iterator(folder, failure);
  if (failure == std::errc::no_such_file_or_directory) return names;
  for (; !failure && entry != std::filesystem::directory_iterator(); entry.increment(failure))
    names.push_back(entry->path().filename().string());
  if (failure) throw DataError("the checkpoint folder " + folder + " cannot be listed: " + failure.message());
  return names;
}

std::string model_path(std::size_t model) { return fmt::format("/checkpoint/models/{:04}", model); }
std::string candidate_path(const std::string& model, std::size_t c) { return fmt::format("{}/candidates/{:04}", model, c); }

Array vector_array(const std::vector<double>& values) { return {{static_cast<Index>(values.size())}, values}; }

void write_state(ArchiveWriter& archive, const std::string& model, const FitState& state) {
  archive.attribute(model, "iteration", std::int64_t{state.iteration});
  const std::vector<std::int64_t> exponents(state.exponents.begin(), state.exponents.end());
  archive.put(model + "/exponents", std::span(exponents));
  for (std::size_t c = 0; c < state.candidates.size(); ++c) {
    const Candidate& candidate = state.candidates[c];
    const std::string path = candidate_path(model, c);
    archive.put(path + "/parameters", vector_array(candidate.parameters));
    archive.put(path + "/trace", vector_array(candidate.trace));
    if (!candidate.running.empty()) archive.put(path + "/running", vector_array(candidate.running));
    if (!candidate.held_out.empty()) archive.put(path + "/held_out", vector_array(candidate.held_out));
    archive.attribute(path, "reason", std::int64_t{static_cast<int>(candidate.reason)});
    archive.attribute(path, "m_steps", std::int64_t{candidate.m_steps});
    archive.attribute(path, "failure", candidate.failure);
  }
}

FitState read_state(const ArchiveReader& archive, const std::string& model) {
  FitState state;
  const auto count = [&archive](const std::string& path, const char* name) {
    return to_int(archive.integer_attribute(path, name).value_or(0), archive.file() + ":" + path + " " + name);
  };
  state.iteration = count(model, "iteration");
  for (const std::int64_t exponent : archive.get_integers(model + "/exponents"))
    state.exponents.push_back(to_int(exponent, archive.file() + ":" + model + "/exponents"));
  const std::size_t candidates = archive.list(model + "/candidates").size();
  for (std::size_t c = 0; c < candidates; ++c) {
    const std::string path = candidate_path(model, c);
    Candidate candidate;
    candidate.parameters = archive.get(path + "/parameters").values;
    candidate.trace = archive.get(path + "/trace").values;
    if (archive.contains(path + "/running")) candidate.running = archive.get(path + "/running").values;
    if (archive.contains(path + "/held_out")) candidate.held_out = archive.get(path + "/held_out").values;
    candidate.reason = static_cast<StopReason>(count(path, "reason"));
    candidate.m_steps = count(path, "m_steps");
    candidate.failure = archive.text_attribute(path, "failure").value_or("");
    state.candidates.push_back(std::move(candidate));
  }
  return state;
}

Checkpoint read_checkpoint(const ArchiveReader& archive) {
  Checkpoint checkpoint;
  checkpoint.record = read_record(archive);
  checkpoint.options_hash = archive.text_attribute("/checkpoint", "options_hash").value_or("");
  if (!archive.contains("/checkpoint/models"))
    throw DataError("a checkpoint was written by another version of tally; start afresh in another folder");
  const std::size_t count = archive.list("/checkpoint/models").size();
  for (std::size_t m = 0; m < count; ++m) checkpoint.states.push_back(read_state(archive, model_path(m)));
  return checkpoint;
}

bool is_state_of(const Model& model, const FitState& state, int restarts) {
  if (state.candidates.size() != static_cast<std::size_t>(restarts) || state.iteration < 0) return false;
  if (!state.exponents.empty() && state.exponents.size() != model.statistics().fields().size()) return false;
  constexpr int lowest_exponent = -1000, highest_exponent = 1024;  // of a Grid
  for (const int exponent : state.exponents)
    if (exponent < lowest_exponent || exponent > highest_exponent) return false;
  return std::all_of(state.candidates.begin(), state.candidates.end(), [&](const Candidate& candidate) {
    const auto reason = static_cast<int>(candidate.reason);
    const std::size_t entries = candidate.trace.size();
    if (candidate.m_steps < 0) return false;
    if (reason < static_cast<int>(StopReason::running) || reason > static_cast<int>(StopReason::failed)) return false;
    if (candidate.reason == StopReason::converged && entries < 2) return false;
    if (candidate.reason != StopReason::running && candidate.reason != StopReason::failed && entries < 1) return false;
    if (!candidate.running.empty() && static_cast<Index>(candidate.running.size()) != model.statistics().size()) return false;
    return static_cast<Index>(candidate.parameters.size()) == model.parameters().size();
  });
}

}  // namespace

std::int64_t Checkpoint::iteration() const {
  int iteration = 0;
  for (const FitState& state : states) iteration = std::max(iteration, state.iteration);
  return iteration;
}

void check_states(const Checkpoint& checkpoint, const std::vector<const Model*>& models, int restarts) {
  if (checkpoint.record.cut != words_of_cut(*models.front()))
    throw DataError("a checkpoint was written by a version of tally that cuts sequences otherwise, which would change the "
                    "bits of the fit; resume with that version, or start afresh in another folder");
  bool fits = checkpoint.states.size() == models.size();
  for (std::size_t m = 0; fits && m < models.size(); ++m) fits = is_state_of(*models[m], checkpoint.states[m], restarts);
  if (!fits) throw DataError("a checkpoint holds another state than its fit could have; start afresh in another folder");
}

void CheckpointFolder::create() const {
  std::error_code failure;
  std::filesystem::create_directories(folder_, failure);
  if (failure || !std::filesystem::is_directory(folder_))
    throw DataError("the checkpoint folder " + folder_ + " cannot be made: " + failure.message());
  const DurableFile probe(folder_ + "/" + probe_name);
}

void CheckpointFolder::remove_unfinished() const {
  for (const std::string& name : names_in(folder_)) {
    std::error_code ignored;
    if (is_unfinished(name)) std::filesystem::remove(folder_ + "/" + name, ignored);
  }
}

void CheckpointFolder::check_unused() const {
  if (!files().empty())
    throw UsageError(folder_ + " holds checkpoints of an earlier fit; go on from them with --resume, or give another folder");
}

std::string CheckpointFolder::path_of(std::int64_t number) const { return folder_ + "/" + name_of(number); }

std::vector<CheckpointFolder::File> CheckpointFolder::files() const {
  std::vector<File> found;
  for (const std::string& name : names_in(folder_))
    if (const auto number = number_of(name)) found.push_back({*number, path_of(*number)});
  std::sort(found.begin(), found.end(), [](const File& a, const File& b) { return a.number > b.number; });
  return found;
}

void CheckpointFolder::save(const Checkpoint& checkpoint) const {
  ArchiveWriter archive(io_);
  write_record(archive, checkpoint.record);
  archive.attribute("/checkpoint", "options_hash", checkpoint.options_hash);
  for (std::size_t m = 0; m < checkpoint.states.size(); ++m) write_state(archive, model_path(m), checkpoint.states[m]);
  const std::vector<File> before = files();
  // A start that goes on under other limits may have done fewer E-steps than another that had ended.
  std::int64_t number = checkpoint.iteration();
  if (!before.empty() && number < before.front().number) number = before.front().number + 1;
  archive.save(path_of(number));
  std::size_t left = kept - 1;
  for (const File& file : before) {
    std::error_code ignored;
    if (file.number == number) continue;
    if (left == 0)
      std::filesystem::remove(file.path, ignored);
    else
      --left;
  }
}

std::optional<Checkpoint> CheckpointFolder::load_newest(std::vector<DamagedCheckpoint>& damaged) const {
  for (const File& file : files()) {
    try {
      // Without one an archive is read as it is: good for other programs' files, but every checkpoint has one.
      if (!has_checksum(file.path)) throw DamageError(file.path + " is damaged (its checksum is gone); use another copy");
      return read_checkpoint(ArchiveReader(io_, file.path));
    } catch (const DamageError& error) {
      damaged.push_back({file.path, error.what()});
    }
  }
  if (damaged.empty()) return std::nullopt;
  throw DataError("no checkpoint in " + folder_ + " is whole: " + damaged.front().why + ", or start afresh in another folder");
}

void CheckpointFolder::set_aside(const std::vector<DamagedCheckpoint>& damaged) {
  for (const DamagedCheckpoint& each : damaged) {
    std::string target = each.file + ".damaged";
    for (int copy = 2; std::filesystem::exists(target); ++copy) target = fmt::format("{}.damaged-{}", each.file, copy);
    std::error_code failure;
    std::filesystem::rename(each.file, target, failure);
    if (failure) throw DataError(each.file + " is damaged and cannot be renamed: " + failure.message());
  }
}

}  // namespace tally
