#!/usr/bin/env python3
"""Times EM iterations of scikit-learn and of Tally on the same data from the same start, interleaved in one run.

An iteration of scikit-learn is the difference of two fits with `tol=0` and different `max_iter`, so that setting up
does not count. Both must end with the same objective. Prints a table and writes bench/results/NAME.json.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import warnings

THREADS = 2
# Before numpy loads its BLAS.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[variable] = str(THREADS)

import h5py  # noqa: E402
import numpy  # noqa: E402
import sklearn  # noqa: E402
import sklearn.cluster  # noqa: E402
import sklearn.exceptions  # noqa: E402
import sklearn.mixture  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
REG_COVAR = 1e-6


class Workload:
    """A model and the shape of its data; `few` and `many` are the iteration counts whose difference is timed."""

    def __init__(self, name, model, rows, columns, components, precision="double", covariance="full", few=1, many=3,
                 quick=False):
        self.name, self.model, self.rows, self.columns, self.components = name, model, rows, columns, components
        self.precision, self.covariance, self.few, self.many, self.quick = precision, covariance, few, many, quick

    def make_data(self):
        random = numpy.random.default_rng(11)
        # scikit-learn moves centres that lose all their rows, plain Lloyd does not: clusters that overlap lose none.
        spread = 0.5 if self.model == "kmeans" else 3
        centres = spread * random.standard_normal((self.components, self.columns))
        labels = random.integers(0, self.components, self.rows)
        data = centres[labels] + random.standard_normal((self.rows, self.columns))
        data = data.astype(numpy.float32 if self.precision == "single" else numpy.float64)
        return data, random.choice(self.rows, self.components, replace=False)

    def start(self, data, chosen):
        locations = data[chosen].astype(float)
        if self.model == "kmeans":
            return {"centers": locations}
        variances = data.var(axis=0, dtype=float)
        covariances = {"full": numpy.tile(numpy.diag(variances), (self.components, 1, 1)),
                       "diag": numpy.tile(variances, (self.components, 1))}[self.covariance]
        weights = numpy.full(self.components, 1 / self.components)
        return {"weights": weights, "means": locations, "covariances": covariances}


WORKLOADS = [
    Workload("gmm full f64 200k x 32, K 64", "gmm", 200000, 32, 64, many=2),
    Workload("kmeans f32 500k x 32, K 64", "kmeans", 500000, 32, 64, precision="single", few=2, many=12, quick=True),
    Workload("gmm diag f64 200k x 32, K 64", "gmm", 200000, 32, 64, covariance="diag", many=5, quick=True),
    Workload("gmm full f64 200k x 8, K 16", "gmm", 200000, 8, 16, many=6, quick=True),
    Workload("gmm full f64 123457 x 17, K 50", "gmm", 123457, 17, 50),
    Workload("kmeans f32 200k x 128, K 1024", "kmeans", 200000, 128, 1024, precision="single", few=1, many=5),
]


class SklearnPeer:
    """One fit of a given number of iterations; initialisation costs the same in every fit."""

    def __init__(self, workload, data, start):
        self.workload, self.data, self.start = workload, data, start
        self.few, self.many, self.last = [], [], None

    def estimator(self, iterations):
        w = self.workload
        if w.model == "kmeans":
            return sklearn.cluster.KMeans(w.components, init=self.start["centers"].astype(self.data.dtype), n_init=1,
                                          max_iter=iterations, tol=0, algorithm="lloyd")
        covariances = self.start["covariances"]
        precisions = numpy.linalg.inv(covariances) if w.covariance == "full" else 1 / covariances
        return sklearn.mixture.GaussianMixture(
            w.components, covariance_type=w.covariance, max_iter=iterations, tol=0, reg_covar=REG_COVAR,
            init_params="random_from_data", random_state=0, weights_init=self.start["weights"],
            means_init=self.start["means"], precisions_init=precisions)

    def fit(self, iterations):
        estimator = self.estimator(iterations)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
            wall, processor = time.perf_counter(), time.process_time()
            estimator.fit(self.data)
            seconds = time.perf_counter() - wall, time.process_time() - processor
        if estimator.n_iter_ != iterations:
            raise SystemExit(f"{self.workload.name}: scikit-learn stopped after {estimator.n_iter_} iterations")
        return estimator, seconds

    def measure_once(self):
        """Fits few and many iterations."""
        self.few.append(self.fit(self.workload.few)[1])
        self.last, seconds = self.fit(self.workload.many)
        self.many.append(seconds)

    def iterations(self, clock):
        """Seconds of an iteration by a clock (0: wall, 1: processor): the best, then that of each round.

        The best is the difference of the smallest times: the smallest difference would reward a slow first fit.
        """
        count = self.workload.many - self.workload.few
        few, many = ([seconds[clock] for seconds in fits] for fits in (self.few, self.many))
        return (min(many) - min(few)) / count, [(b - a) / count for a, b in zip(few, many)]

    def objective(self):
        estimator = self.last
        if self.workload.model == "kmeans":
            # Not inertia_, which sums in the data's precision.
            nearest = estimator.cluster_centers_.astype(float)[estimator.labels_]
            return float(numpy.sum((self.data - nearest) ** 2))
        return float(estimator.score(self.data)) * self.workload.rows


def run_tally(program, workload, file):
    command = [program, "--model", workload.model, "--components", workload.components, "--precision",
               workload.precision, "--covariance", workload.covariance, "--reg-covar", REG_COVAR, "--threads", THREADS,
               "--iterations", workload.many, "--repeat", 2, "--data", f"{file}:/x", "--start", f"{file}:/start"]
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{workload.name}: tally_bench failed\n{done.stdout}")
    return json.loads(done.stdout)


def measure(workload, program, folder, repeat):
    data, chosen = workload.make_data()
    start = workload.start(data, chosen)
    file = os.path.join(folder, "data.h5")
    with h5py.File(file, "w") as out:
        out["x"] = data
        for name, values in start.items():
            out[f"start/{name}"] = values
    peer = SklearnPeer(workload, data, start)
    runs = []
    for _ in range(repeat):
        peer.measure_once()
        runs.append(run_tally(program, workload, file))
    wall, rounds = peer.iterations(clock=0)
    processor, _ = peer.iterations(clock=1)
    theirs, ours = peer.objective(), runs[-1]["objective"]
    difference = abs(theirs - ours) / abs(theirs)
    # In single precision scikit-learn decides close calls between centres by rounding, Tally does not.
    tolerance = 1e-4 if workload.precision == "single" else 1e-8
    best = min(run["exact"]["best_ms"] for run in runs)
    best_processor = min(run["exact"]["processor_best_ms"] for run in runs)
    return {
        "workload": workload.name,
        "convention": runs[0]["convention"],
        "iterations": workload.many,
        "sklearn": {"best_ms": 1e3 * wall,
                    "median_ms": 1e3 * statistics.median(rounds),
                    "worst_ms": 1e3 * max(rounds),
                    "processor_best_ms": 1e3 * processor,
                    "objective": theirs},
        "tally": {"best_ms": best,
                  "median_ms": statistics.median(run["exact"]["median_ms"] for run in runs),
                  "worst_ms": max(run["exact"]["worst_ms"] for run in runs),
                  "processor_best_ms": best_processor,
                  "objective": ours},
        "gemm_gflops": max(run["gemm_gflops"] for run in runs),
        "fraction_of_gemm": max(run["exact"]["fraction_of_ceiling"] for run in runs),
        "fraction_by_processor_time": max(run["exact"]["fraction_by_processor_time"] for run in runs),
        "ratio": 1e3 * wall / best,
        "ratio_by_processor_time": 1e3 * processor / best_processor,
        "objective_difference": difference,
        "agree": difference <= tolerance,
    }


def machine():
    model = platform.processor()
    with open("/proc/cpuinfo", encoding="ascii") as info:
        for line in info:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"processor": model, "cores": os.cpu_count(), "load_average": os.getloadavg()[0],
            "OPENBLAS_CORETYPE": os.environ.get("OPENBLAS_CORETYPE", "")}


def commit():
    done = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE, text=True)
    return done.stdout.strip()


def print_table(results):
    print(f"{'workload':32} {'sklearn':>9} {'tally':>9} {'ratio':>7} {'by cpu':>7} {'of GEMM':>8} {'by cpu':>7}  objective")
    for r in results:
        print(f"{r['workload']:32} {r['sklearn']['best_ms']:6.1f} ms {r['tally']['best_ms']:6.1f} ms "
              f"{r['ratio']:6.1f}x {r['ratio_by_processor_time']:6.1f}x {100 * r['fraction_of_gemm']:6.0f} % "
              f"{100 * r['fraction_by_processor_time']:5.0f} %  {'agrees' if r['agree'] else 'DIFFERS'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the tally_bench of a Release build")
    parser.add_argument("--quick", action="store_true", help="the short workloads alone, in under two minutes")
    parser.add_argument("--repeat", type=int, default=0, help="rounds of both (3; quick: 2)")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument("--name", default="peers", help="of the file in bench/results")
    arguments = parser.parse_args()
    repeat = arguments.repeat or (2 if arguments.quick else 3)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for workload in WORKLOADS:
            if arguments.only in workload.name and (workload.quick or not arguments.quick):
                results.append(measure(workload, arguments.program, folder, repeat))
                print(f"{workload.name}: done", file=sys.stderr)
    print_table(results)
    report = {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "command": "bench/peers.py " + " ".join(["tally_bench"] + sys.argv[2:]),
        "machine": machine(),
        "threads": THREADS,
        "versions": {"python": platform.python_version(), "scikit-learn": sklearn.__version__,
                     "numpy": numpy.__version__},
        "results": results,
    }
    out = ROOT / "bench" / "results" / f"{arguments.name}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0 if all(result["agree"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
