// Armadillo as a peer of mixtures.py: told what Python peers are told, it
// answers each line of its input with the time of an iteration and writes the
// parameters that it found.
#include <armadillo>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <stdexcept>
#include <string>

namespace {

struct Workload {
  std::string folder, out, model, covariance;
  arma::uword rows, columns, components, few, many;
};

struct Seconds {
  double wall, processor;
};

template <typename Work>
Seconds timed(const Work& work) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  const std::clock_t processor = std::clock();  // of all threads
  if (!work()) throw std::runtime_error("Armadillo could not fit");
  return {std::chrono::duration<double>(Clock::now() - begin).count(),
          static_cast<double>(std::clock() - processor) / CLOCKS_PER_SEC};
}

// A row-major array (rows, columns) as a matrix (columns, rows).
template <typename Real>
arma::Mat<Real> read(const std::string& file, arma::uword rows, arma::uword columns) {
  arma::Mat<Real> values;
  if (!values.load(file, arma::raw_binary)) throw std::runtime_error("cannot read " + file);
  values.reshape(columns, rows);
  return values;
}

template <typename Values>
void write(const Values& values, const std::string& file) {
  if (!values.save(file, arma::raw_binary)) throw std::runtime_error("cannot write " + file);
}

// Answers with the difference of two fits, so that setting up does not count.
template <typename Fit>
void serve(const Workload& workload, const Fit& fit) {
  std::printf("{\"armadillo\": \"%s\"}\n", arma::arma_version::as_string().c_str());
  std::fflush(stdout);
  for (std::string line; std::getline(std::cin, line);) {
    const Seconds few = fit(workload.few), many = fit(workload.many);
    const auto iterations = static_cast<double>(workload.many - workload.few);
    std::printf("{\"seconds\": %.9g, \"processor_seconds\": %.9g}\n", (many.wall - few.wall) / iterations,
                (many.processor - few.processor) / iterations);
    std::fflush(stdout);
  }
}

void serve_kmeans(const Workload& workload) {
  const arma::fmat data = read<float>(workload.folder + "/x", workload.rows, workload.columns);
  const arma::fmat start = arma::conv_to<arma::fmat>::from(
      read<double>(workload.folder + "/centers", workload.components, workload.columns));
  serve(workload, [&](arma::uword iterations) {
    arma::fmat centers = start;
    const Seconds seconds = timed([&] {
      return arma::kmeans(centers, data, workload.components, arma::keep_existing, iterations, false);
    });
    write(arma::conv_to<arma::mat>::from(centers), workload.out + "/centers");
    return seconds;
  });
}

arma::cube covariances_of(const Workload& workload, const arma::gmm_full&) {
  const arma::uword D = workload.columns, K = workload.components;
  const arma::mat values = read<double>(workload.folder + "/covariances", D * K, D);
  return arma::cube(values.memptr(), D, D, K);
}

arma::mat covariances_of(const Workload& workload, const arma::gmm_diag&) {
  return read<double>(workload.folder + "/covariances", workload.components, workload.columns);
}

const arma::cube& covariances_of(const arma::gmm_full& fitted) {
  return fitted.fcovs;
}
const arma::mat& covariances_of(const arma::gmm_diag& fitted) {
  return fitted.dcovs;
}

template <typename Mixture>
void serve_mixture(const Workload& workload) {
  const arma::mat data = read<double>(workload.folder + "/x", workload.rows, workload.columns);
  const arma::mat means = read<double>(workload.folder + "/means", workload.components, workload.columns);
  const arma::rowvec weights = read<double>(workload.folder + "/weights", workload.components, 1);
  const auto covariances = covariances_of(workload, Mixture());
  const double variance_floor = 0;
  serve(workload, [&](arma::uword iterations) {
    Mixture fitted;
    fitted.set_params(means, covariances, weights);
    const Seconds seconds = timed([&] {
      return fitted.learn(data, workload.components, arma::eucl_dist, arma::keep_existing, 0, iterations,
                          variance_floor, false);
    });
    write(fitted.hefts, workload.out + "/weights");
    write(fitted.means, workload.out + "/means");
    write(covariances_of(fitted), workload.out + "/covariances");
    return seconds;
  });
}

void run(const Workload& workload) {
  if (workload.model == "kmeans")
    serve_kmeans(workload);
  else if (workload.covariance == "full")
    serve_mixture<arma::gmm_full>(workload);
  else
    serve_mixture<arma::gmm_diag>(workload);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 11) {
    std::fprintf(stderr,
                 "armadillo_peer FOLDER OUT MODEL COVARIANCE PRECISION "
                 "ROWS COLUMNS COMPONENTS FEW MANY\n");
    return 2;
  }
  try {
    run({argv[1], argv[2], argv[3], argv[4], std::stoull(argv[6]), std::stoull(argv[7]), std::stoull(argv[8]),
         std::stoull(argv[9]), std::stoull(argv[10])});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "armadillo_peer: %s\n", error.what());
    return 1;
  }
}
