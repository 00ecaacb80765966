#include <fmt/format.h>

#include <CLI/App.hpp>
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <memory>
#include <numeric>
#include <string>

#include "comm/agreement.hpp"
#include "core/archive.hpp"
#include "core/error.hpp"
#include "core/philox.hpp"
#include "core/random_streams.hpp"
#include "core/standardisation.hpp"
#include "launch/context.hpp"
#include "launch/drawn_rows.hpp"
#include "launch/output.hpp"
#include "launch/sequence_inputs.hpp"

namespace tally {
namespace {

struct GenerateRequest {
  std::string kind, out;
  std::string lengths;  // of sequences; empty: one sequence
  Index rows = 0, columns = 2, components = 3, symbols = 4, trials = 10;
  double separation = 4;
  bool float32 = false;
  DrawOptions draw;
};

// What is planted: a model of the registry with its options and its parameters.
struct Planted {
  std::string model;
  OptionValues options;
  NamedArrays parameters;
};

// Draws of the planted parameters, an index of its own for each component and purpose.
class ParameterDraws {
 public:
  explicit ParameterDraws(std::int64_t seed)
      : key_{static_cast<std::uint64_t>(seed), static_cast<std::uint32_t>(RandomStream::initialise)} {}

  enum Purpose : std::uint64_t { weight, location, shape, purpose_count };
  double normal_of(Index component, Purpose purpose, Index position) const {
    return normal(key_, index(component, purpose), static_cast<std::uint32_t>(position));
  }
  double uniform_of(Index component, Purpose purpose, Index position) const {
    return uniform(key_, index(component, purpose), static_cast<std::uint32_t>(position));
  }

 private:
  static std::uint64_t index(Index component, Purpose purpose) {
    return static_cast<std::uint64_t>(component) * purpose_count + purpose;
  }
  RandomKey key_;
};

Array random_weights(const ParameterDraws& draws, Index K) {
  Array weights{{K}, {}};
  double sum = 0;
  for (Index k = 0; k < K; ++k) {
    weights.values.push_back(0.5 + draws.uniform_of(k, ParameterDraws::weight, 0));
    sum += weights.values.back();
  }
  for (double& weight : weights.values) weight /= sum;
  return weights;
}

// Independent normals of this standard deviation.
Array random_locations(const ParameterDraws& draws, Index K, Index D, double deviation) {
  Array locations{{K, D}, {}};
  for (Index k = 0; k < K; ++k)
    for (Index d = 0; d < D; ++d)
      locations.values.push_back(deviation * draws.normal_of(k, ParameterDraws::location, d));
  return locations;
}

// L L' for random lower-triangular L: variances about 1, correlations of any sign.
Array random_covariances(const ParameterDraws& draws, Index K, Index D) {
  Array covariances{{K, D, D}, std::vector<double>(static_cast<std::size_t>(K * D * D))};
  std::vector<double> factor(static_cast<std::size_t>(D * D));
  const MatrixView<double> L(factor.data(), D, D);
  for (Index k = 0; k < K; ++k) {
    for (Index a = 0; a < D; ++a)
      for (Index b = 0; b <= a; ++b)
        L(a, b) = a == b ? 0.5 + draws.uniform_of(k, ParameterDraws::shape, a)
                         : 0.5 / std::sqrt(static_cast<double>(a)) *
                               draws.normal_of(k, ParameterDraws::shape, D + a * (a - 1) / 2 + b);
    const MatrixView<double> S(covariances.values.data() + k * D * D, D, D);
    for (Index a = 0; a < D; ++a)
      for (Index b = 0; b <= a; ++b) {
        double sum = 0;
        for (Index c = 0; c <= b; ++c) sum += L(a, c) * L(b, c);
        S(a, b) = S(b, a) = sum;
      }
  }
  return covariances;
}

// Distributions over symbols for each component and column, whose logarithms have this standard deviation.
Array random_symbols(const ParameterDraws& draws, Index K, Index D, Index S, double deviation) {
  Array probabilities = random_locations(draws, K, D * S, deviation);
  probabilities.shape = {K, D, S};
  for (auto first = probabilities.values.begin(); first != probabilities.values.end(); first += S) {
    const double largest = *std::max_element(first, first + S);
    std::transform(first, first + S, first, [&](double logarithm) { return std::exp(logarithm - largest); });
    const double sum = std::accumulate(first, first + S, 0.0);
    std::transform(first, first + S, first, [&](double value) { return value / sum; });
  }
  return probabilities;
}

// States that stay for ten steps on average, then go to any other.
Array lasting_states(Index K) {
  Array transitions{{K, K}, std::vector<double>(static_cast<std::size_t>(K * K), K > 1 ? 0.1 / static_cast<double>(K - 1) : 0)};
  for (Index k = 0; k < K; ++k) transitions.values[static_cast<std::size_t>(k * K + k)] = K > 1 ? 0.9 : 1;
  return transitions;
}

Planted plant(const GenerateRequest& request) {
  const Index K = request.components, D = request.columns;
  const ParameterDraws draws(request.draw.seed);
  // Of logarithms of probabilities: two components then differ about as clearly as those of the others.
  const double deviation = request.separation / 2;
  if (request.kind == "categorical")
    return {"categorical",
            {{"symbols", std::to_string(request.symbols)}},
            {{"weights", random_weights(draws, K)},
             {"probabilities", random_symbols(draws, K, D, request.symbols, deviation)}}};
  if (request.kind == "bernoulli") {
    Array probabilities = random_locations(draws, K, D, deviation);
    for (double& p : probabilities.values) p = 1 / (1 + std::exp(-p));
    return {"bernoulli", {}, {{"weights", random_weights(draws, K)}, {"probabilities", std::move(probabilities)}}};
  }
  if (request.kind == "poisson") {
    // A square root of a count has standard deviation 1/2, so that locations are as far apart as those of the others.
    Array rates = random_locations(draws, K, D, request.separation / 2);
    for (double& rate : rates.values) rate = (1 + std::abs(rate)) * (1 + std::abs(rate));
    return {"poisson", {}, {{"weights", random_weights(draws, K)}, {"rates", std::move(rates)}}};
  }
  if (request.kind == "exponential") {
    // Of logarithms of rates: the logarithm of a value has a standard deviation of 1.3.
    Array rates = random_locations(draws, K, D, request.separation);
    for (double& rate : rates.values) rate = std::exp(std::clamp(-rate, -300.0, 300.0));
    return {"exponential", {}, {{"weights", random_weights(draws, K)}, {"rates", std::move(rates)}}};
  }
  if (request.kind == "gamma") {
    // The logarithm of a value of shape 4 has a standard deviation of 1/2.
    Array shapes{{K, D}, std::vector<double>(static_cast<std::size_t>(K * D), 4.0)};
    Array scales = random_locations(draws, K, D, request.separation / 2);
    for (double& scale : scales.values) scale = std::exp(std::clamp(scale, -300.0, 300.0)) / 4;
    return {"gamma",
            {},
            {{"weights", random_weights(draws, K)}, {"shapes", std::move(shapes)}, {"scales", std::move(scales)}}};
  }
  const OptionValues with_trials = {{"trials", std::to_string(request.trials)}};
  if (request.kind == "binomial") {
    Array probabilities = random_locations(draws, K, D, deviation);
    for (double& p : probabilities.values) p = 1 / (1 + std::exp(-p));
    return {"binomial", with_trials, {{"weights", random_weights(draws, K)}, {"probabilities", std::move(probabilities)}}};
  }
  if (request.kind == "multinomial") {
    Array probabilities = random_symbols(draws, K, 1, D, deviation);
    probabilities.shape = {K, D};
    return {"multinomial", with_trials, {{"weights", random_weights(draws, K)}, {"probabilities", std::move(probabilities)}}};
  }
  if (request.kind == "von-mises-fisher") {
    // Directions lie about a unit apart, rows about 1 / separation from theirs in every column.
    Array directions = random_locations(draws, K, D, 1);
    for (auto first = directions.values.begin(); first != directions.values.end(); first += D) {
      const double length = std::sqrt(std::inner_product(first, first + D, first, 0.0));
      std::transform(first, first + D, first, [&](double value) { return value / length; });
    }
    const double concentration = request.separation * request.separation;
    return {"von-mises-fisher",
            {},
            {{"weights", random_weights(draws, K)},
             {"mean_directions", std::move(directions)},
             {"concentrations", {{K}, std::vector<double>(static_cast<std::size_t>(K), concentration)}}}};
  }
  Array means = random_locations(draws, K, D, request.separation);
  if (request.kind == "gmm")
    return {"gmm",
            {},
            {{"weights", random_weights(draws, K)},
             {"means", std::move(means)},
             {"covariances", random_covariances(draws, K, D)}}};
  const auto k = static_cast<std::size_t>(K);
  if (request.kind == "student-t")
    return {"student-t",
            {},
            {{"weights", random_weights(draws, K)},
             {"means", std::move(means)},
             {"scales", random_covariances(draws, K, D)},
             {"degrees_of_freedom", {{K}, std::vector<double>(k, 4.0)}}}};
  if (request.kind == "hmm")
    return {"hmm",
            {{"emission", "gaussian"}, {"covariance", "spherical"}},
            {{"startprob", {{K}, std::vector<double>(k, 1.0 / static_cast<double>(K))}},
             {"transmat", lasting_states(K)},
             {"means", std::move(means)},
             {"covariances", {{K}, std::vector<double>(k, 1.0)}}}};
  return {"gmm",
          {{"covariance", "spherical"}},
          {{"weights", {{K}, std::vector<double>(k, 1.0 / static_cast<double>(K))}},
           {"means", std::move(means)},
           {"covariances", {{K}, std::vector<double>(k, 1.0)}}}};
}

// "data.h5" -> "data.planted.h5".
std::string planted_file(const std::string& file) {
  const std::filesystem::path path(file);
  return (path.parent_path() / (path.stem().string() + ".planted" + path.extension().string())).string();
}

void save(const Planted& planted, const GenerateRequest& request, const std::string& file, IoExecutor& io) {
  ArchiveWriter archive(io);
  if (request.kind == "kmeans")
    archive.put("/centers", planted.parameters.at("means"));
  else
    for (const auto& [name, array] : planted.parameters) archive.put("/" + name, array);
  archive.attribute("/", "kind", request.kind);
  archive.attribute("/", "seed", request.draw.seed);
  archive.attribute("/", "separation", request.separation);
  archive.save(file);
}

void check(const GenerateRequest& request) {
  constexpr Index largest = Index{1} << 31;
  if (request.columns < 1 || request.columns > 65536) throw UsageError("--columns must be within 1 to 65536");
  if (request.components < 1) throw UsageError("--components must be at least 1");
  if (request.trials < 1 || request.trials > Index{1} << 31) throw UsageError("--trials must be within 1 to 2147483648");
  if (request.symbols < 1 || request.symbols > 65536) throw UsageError("--symbols must be within 1 to 65536");
  const Index square = request.kind == "gmm" ? request.columns : request.kind == "categorical" ? request.symbols : 1;
  if (request.components > largest / request.columns / square)
    throw UsageError("so many components of so many columns would take more than 16 GiB; ask for fewer");
  if (!(request.separation >= 0 && request.separation <= 1e4)) throw UsageError("--separation must be within 0 to 1e4");
}

void generate(const GenerateRequest& request, CommandContext& context) {
  check(request);
  DrawnRows drawn;
  drawn.target = parse_output(request.out, "/x");
  drawn.columns = request.columns;
  if (request.float32) drawn.type = Hdf5RowWriter::Type::float32;
  drawn.options = request.draw;
  drawn.stream = RandomStream::generate;
  const std::string parameters = planted_file(drawn.target.file);
  Planted planted;
  Sampler sampler;
  std::unique_ptr<SequenceSampler> sequence_sampler;
  std::shared_ptr<const Sequences> sequences;
  agree(context.communicator, [&] {
    if (context.is_root() && !request.lengths.empty())
      for (const std::string& file : {drawn.target.file, parameters}) refuse_to_replace(file, {request.lengths});
    planted = plant(request);
    const auto model =
        context.registry.find(planted.model).make(request.components, request.columns, planted.options);
    model->set_standardisation(Standardisation::none(request.columns));
    std::vector<double> values(static_cast<std::size_t>(model->parameters().size()));
    model->set_defaults(values);
    model->read(planted.parameters, values);
    sampler = model->sampler(values);
    sequence_sampler = model->sequence_sampler(values);
    drawn.rows = rows_to_draw(*model, context.io, request.lengths, request.rows);
    check(drawn);
    sequences = sequences_for(*model, context.io, request.lengths, drawn.rows, "--rows");
  });
  if (sequence_sampler)
    write_drawn_sequences(drawn, *sequences, *sequence_sampler, context);
  else
    write_drawn_rows(drawn, sampler, context);
  agree(context.communicator, [&] {
    if (context.is_root()) save(planted, request, parameters, context.io);
  });
  if (context.is_root())
    fmt::print("generated {} rows of {} columns, {} components -> {}:{}{}; what was planted -> {}\n", drawn.rows,
               request.columns, request.components, drawn.target.file, drawn.target.path,
               request.draw.labels ? " and /labels" : "", parameters);
}

}  // namespace

void add_generate_command(CLI::App& app, const Choose& choose) {
  CLI::App* command = app.add_subcommand("generate", "Make data of any size with a planted model");
  const auto request = std::make_shared<GenerateRequest>();
  command
      ->add_option("kind", request->kind,
                   "gmm: Gaussians of any shape; kmeans: equal round blobs; poisson: counts; categorical: symbols; bernoulli: "
                   "bits; exponential: waiting times; gamma: numbers above 0; binomial: successes; multinomial: rows of counts; "
                   "von-mises-fisher: directions; student-t: clusters with heavy tails; hmm: sequences of states that emit equal round blobs")
      ->required()
      ->check(CLI::IsMember({"gmm", "kmeans", "poisson", "categorical", "bernoulli", "exponential", "gamma", "binomial", "multinomial",
                             "von-mises-fisher", "student-t", "hmm"}));
  command->add_option("-n,--rows", request->rows, "Number of rows (hmm: by default as many as --lengths sum to)");
  command->add_option("-d,--columns", request->columns, "Number of columns")->capture_default_str();
  command->add_option("-k,--components", request->components, "Number of components")->capture_default_str();
  command
      ->add_option("-o,--out", request->out,
                   "File to write, FILE.h5[:/PATH] (default path: /x); what was planted goes to FILE.planted.h5, for "
                   "--init parameters:FILE.planted.h5")
      ->required();
  command->add_option("--separation", request->separation,
                      "Standard deviation of the components' locations, in about those within a component")
      ->capture_default_str();
  command->add_option("--symbols", request->symbols, "(categorical) number of symbols")->capture_default_str();
  command->add_option("--trials", request->trials, "(binomial, multinomial) number of trials")->capture_default_str();
  command->add_option("--lengths", request->lengths,
                      "(hmm) lengths of the sequences, FILE.h5:/PATH (default: one sequence)");
  command->add_flag("--float32", request->float32, "Store 4 bytes a number");
  add_draw_options(*command, request->draw);
  command->callback([request, choose] {
    choose([request](CommandContext& context) {
      generate(*request, context);
      return 0;
    });
  });
}

}  // namespace tally
