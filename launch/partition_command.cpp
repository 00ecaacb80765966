#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>

#include "comm/agreement.hpp"
#include "core/block.hpp"
#include "core/error.hpp"
#include "core/hdf5_split.hpp"
#include "launch/cluster/job_plan.hpp"
#include "launch/cluster/start_line.hpp"
#include "launch/cluster/this_host.hpp"
#include "launch/context.hpp"
#include "launch/placement_words.hpp"
#include "launch/planned_fit.hpp"
#include "launch/resources.hpp"
#include "launch/sequence_inputs.hpp"

namespace tally {
namespace {

struct PartitionWords {
  PlacementWords placement;
  std::string out;
};

// Data with one entry a row, split like the rows, and the path they get.
struct SplitSource {
  const RowSource* source;
  std::string path;
  std::string option;  // that names it in the fit: "--weights "; empty: the data themselves
};

// Writes what each rank of a fit will read into a file of its own. The ranks of this job take turns at the files.
class PartitionJob {
 public:
  PartitionJob(const PartitionWords& words, std::span<const std::string> fit, CommandContext& context)
      : context_(context), folder_(words.out), request_(parse_planned_fit("partition", fit, context)) {
    if (context.communicator.size() > 1 && words.placement.ranks == 0 && words.placement.cluster.empty())
      throw UsageError("under mpirun or srun partition needs -n or --cluster: its own ranks need not be those of the fit");
    const ModelEntry& entry = context.registry.find(request_.model);
    agree(context.communicator, [&] {
      inputs_ = open_fit_inputs(request_, entry, context.io);
      cluster_ = words.placement.cluster.empty() ? Cluster{{describe_this_host()}} : read_cluster(words.placement.cluster);
      const PlacementRequest placement = words.placement.request(cluster_, request_.device, request_.threads);
      plan_ = plan_job(cluster_, place_ranks(cluster_, placement), shape_of(request_, inputs_, placement.gpus));
    });
    sources_.push_back({inputs_.rows.get(), "/x", ""});
    if (inputs_.weights && !inputs_.sequences) sources_.push_back({inputs_.weights.get(), "/weights", "--weights "});
    if (inputs_.given) {
      const std::string init = request_.labels.empty() ? "--init " + init_of(request_, entry).way + ":" : "--labels ";
      sources_.push_back({inputs_.given.get(), "/given", init});
    }
  }

  int run() {
    agree(context_.communicator, [&] {
      if (context_.is_root()) make_folder();
    });
    try {
      agree(context_.communicator, [&] { write_parts(); });
      agree(context_.communicator, [&] {
        if (context_.is_root()) write_index();
      });
    } catch (const AgreedFailure&) {  // by now no rank writes any more
      if (context_.is_root()) remove_files();
      throw;
    }
    if (context_.is_root()) print();
    return 0;
  }

 private:
  void make_folder() {
    std::error_code failure;
    made_folder_ = std::filesystem::create_directories(folder_, failure);
    if (failure) throw DataError(fmt::format("the folder {} cannot be made: {}", folder_, failure.message()));
    if (!std::filesystem::is_empty(folder_, failure) || failure)
      throw UsageError(folder_ + " is not an empty folder: partition writes into one of its own");
  }

  void remove_files() const {
    std::error_code ignored;
    for (std::size_t rank = 0; rank < plan_.shares.size(); ++rank)
      std::filesystem::remove(in_folder(part_name(rank)), ignored);
    std::filesystem::remove(in_folder(sequences_name), ignored);
    if (made_folder_) std::filesystem::remove(folder_, ignored);
  }

  std::string in_folder(const std::string& file) const { return (std::filesystem::path(folder_) / file).string(); }
  static std::string part_name(std::size_t rank) { return fmt::format("rank-{:04}.h5", rank); }

  void write_parts() {
    const auto turns = static_cast<std::size_t>(context_.communicator.size());
    for (auto rank = static_cast<std::size_t>(context_.communicator.rank()); rank < plan_.shares.size(); rank += turns)
      if (plan_.shares[rank].rows > 0) write_part(in_folder(part_name(rank)), plan_.shares[rank]);
  }

  void write_part(const std::string& file, const RankShare& share) {
    std::unique_ptr<Hdf5RowWriter> writer;
    for (const SplitSource& split : sources_) {
      const Index columns = split.source->columns();
      const auto type = split.source->fits_float() ? Hdf5RowWriter::Type::float32 : Hdf5RowWriter::Type::float64;
      const Index stored_columns = columns == 1 ? 0 : columns;  // one column as most people write it
      if (writer) writer->next(split.path, share.rows, stored_columns, type);
      else writer = std::make_unique<Hdf5RowWriter>(context_.io, file, split.path, share.rows, stored_columns, type);
      copy(*split.source, share.first_row, share.rows, *writer);
    }
    writer->finish();
  }

  void copy(const RowSource& source, Index first, Index rows, Hdf5RowWriter& writer) {
    const Index most = block_rows_for(source.columns());
    for (Index done = 0; done < rows; done += most) {
      const Index count = std::min(most, rows - done);
      values_.resize(static_cast<std::size_t>(count * source.columns()));
      source.read(first + done, count, values_.data());
      writer.append(values_.data(), count);
      context_.communicator.pulse();
    }
  }

  // Whose part a sequence is depends on all of them, so every host needs their lengths.
  bool has_sequences_file() const { return inputs_.sequences && (!request_.lengths.empty() || !request_.weights.empty()); }

  void write_index() {
    if (has_sequences_file()) write_sequences();
    std::vector<SplitPart> parts;
    for (std::size_t rank = 0; rank < plan_.shares.size(); ++rank)
      if (const RankShare& share = plan_.shares[rank]; share.rows > 0)
        parts.push_back({part_name(rank), share.first_row, share.rows});
    std::vector<std::string> paths;
    for (const SplitSource& split : sources_) paths.push_back(split.path);
    write_split_file(context_.io, in_folder(index_name), paths, parts);
  }

  void write_sequences() {
    const Sequences& sequences = *inputs_.sequences;
    std::vector<std::int64_t> lengths;
    for (Index sequence = 0; sequence < sequences.count(); ++sequence) lengths.push_back(sequences.length(sequence));
    Hdf5RowWriter writer(context_.io, in_folder(sequences_name), "/lengths", sequences.count(), 0,
                         Hdf5RowWriter::Type::int64);
    writer.append(lengths.data(), sequences.count());
    if (!request_.weights.empty()) {
      const Hdf5Rows weights(context_.io, {request_.weights});
      writer.next("/weights", sequences.count(), 0, Hdf5RowWriter::Type::float64);
      copy(weights, 0, sequences.count(), writer);
    }
    writer.finish();
  }

  // What goes where, and the words that name it in the fit.
  void print() const {
    fmt::print("{} rows in {} parts. On each host the folder needs {}{}, and the files of its ranks:\n",
               inputs_.rows->rows(), plan_.shares.size(), index_name,
               has_sequences_file() ? fmt::format(" and {}", sequences_name) : "");
    for (std::size_t rank = 0; rank < plan_.shares.size(); ++rank) {
      const RankShare& share = plan_.shares[rank];
      const std::string& host = cluster_.nodes[static_cast<std::size_t>(plan_.placement.ranks[rank].node)].name;
      if (share.rows == 0) fmt::print("  {:<16} -             rank {} has no rows\n", host, rank);
      else fmt::print("  {:<16} {}  rows {} to {}\n", host, part_name(rank), share.first_row, share.first_row + share.rows - 1);
    }
    fmt::print("Fit on {} ranks with", plan_.shares.size());
    for (const SplitSource& split : sources_)
      fmt::print(" {}{}", split.option, quoted({in_folder(index_name) + ":" + split.path}));
    if (has_sequences_file()) {
      fmt::print(" --lengths {}", quoted({in_folder(sequences_name) + ":/lengths"}));
      if (!request_.weights.empty()) fmt::print(" --weights {}", quoted({in_folder(sequences_name) + ":/weights"}));
    }
    fmt::print("\n");
  }

  static constexpr const char* index_name = "data.h5";
  static constexpr const char* sequences_name = "sequences.h5";

  CommandContext& context_;
  const std::string folder_;
  const FitRequest request_;
  FitInputs inputs_;
  Cluster cluster_;
  JobPlan plan_;
  std::vector<SplitSource> sources_;
  std::vector<double> values_;
  bool made_folder_ = false;
};

}  // namespace

void add_partition_command(CLI::App& app, std::span<const std::string> job, const Choose& choose) {
  CLI::App* command = app.add_subcommand(
      "partition", "Write what each rank of a fit will read into a file of its own, for disks that a host has to itself");
  command->footer("The fit comes after --, as it would be run: tally partition -n 8 --out parts -- fit gmm data.h5:/x -k 8");
  const auto words = std::make_shared<PartitionWords>();
  words->placement.add_to(*command);
  command->add_option("--out", words->out, "Folder for the files: a new one, or empty")->required();
  command->callback([words, job, choose] {
    choose([words, job](CommandContext& context) { return PartitionJob(*words, job, context).run(); });
  });
}

}  // namespace tally
