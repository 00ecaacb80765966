#include <fmt/format.h>

#include <CLI/App.hpp>
#include <memory>
#include <vector>

#include "comm/agreement.hpp"
#include "core/random_streams.hpp"
#include "launch/context.hpp"
#include "launch/drawn_rows.hpp"
#include "launch/model_file.hpp"
#include "launch/output.hpp"
#include "launch/sequence_inputs.hpp"

namespace tally {
namespace {

struct SampleRequest {
  std::string model, out;
  std::string lengths;  // of sequences; empty: one sequence
  Index rows = 0;
  DrawOptions draw;
};

void sample(const SampleRequest& request, CommandContext& context) {
  DrawnRows drawn;
  drawn.target = parse_output(request.out, "/x");
  drawn.options = request.draw;
  drawn.stream = RandomStream::draw;
  LoadedModel loaded;
  Sampler sampler;
  std::unique_ptr<SequenceSampler> sequence_sampler;
  std::shared_ptr<const Sequences> sequences;
  agree(context.communicator, [&] {
    std::vector<std::string> inputs = {request.model};
    if (!request.lengths.empty()) inputs.push_back(request.lengths);
    if (context.is_root()) refuse_to_replace(drawn.target.file, inputs);
    loaded = load_model(context.io, request.model, context.registry);
    sampler = loaded.model->sampler(loaded.parameters);
    sequence_sampler = loaded.model->sequence_sampler(loaded.parameters);
    drawn.rows = rows_to_draw(*loaded.model, context.io, request.lengths, request.rows);
    check(drawn);
    sequences = sequences_for(*loaded.model, context.io, request.lengths, drawn.rows, "--rows");
  });
  drawn.columns = loaded.record.columns;
  if (sequence_sampler)
    write_drawn_sequences(drawn, *sequences, *sequence_sampler, context);
  else
    write_drawn_rows(drawn, sampler, context);
  if (context.is_root())
    fmt::print("drew {} rows from {} -> {}:{}{}\n", drawn.rows, request.model, drawn.target.file,
               drawn.target.path, request.draw.labels ? " and /labels" : "");
}

}  // namespace

void add_sample_command(CLI::App& app, const Choose& choose) {
  CLI::App* command = app.add_subcommand("sample", "Draw rows from a fitted model");
  const auto request = std::make_shared<SampleRequest>();
  command->add_option("model", request->model, "Model file, as `tally fit --out` writes it")->required();
  command->add_option("-n,--rows", request->rows, "How many rows to draw (default: as many as --lengths sum to)");
  command->add_option("-o,--out", request->out, "File to write, FILE.h5[:/PATH] (default path: /x)")->required();
  command->add_option("--lengths", request->lengths,
                      "Lengths of the sequences to draw, FILE.h5:/PATH (default: one sequence)");
  add_draw_options(*command, request->draw);
  command->callback([request, choose] {
    choose([request](CommandContext& context) {
      sample(*request, context);
      return 0;
    });
  });
}

}  // namespace tally
