#!/usr/bin/env python3
"""Times iterations of k-means and of Gaussian mixtures in scikit-learn, scikit-learn-intelex, faiss, Armadillo and Tally, from
the same rows and the same start, in turns, and compares the objectives after as many iterations.

An iteration of a peer is the difference of two fits of different length, so that setting up does not count; one of Tally is
the median of a fit's. All have two threads. The objective is computed here, in double, from the parameters that a peer found;
it must be Tally's. What is not alike:

- scikit-learn runs 'lloyd', its default; 'elkan', which skips distances, and mini batches are other algorithms. It moves
  centres that have lost all their rows, as do faiss, oneDAL and Armadillo, each in its own way: the clusters overlap, so that none does.
- scikit-learn-intelex replaces scikit-learn's k-means (not its mixtures) by oneDAL's, in the newer scikit-learn of its own environment.
- faiss and Armadillo sum k-means in float as the rows are; Tally sums exactly. Close calls between centres fall either way.
- Armadillo puts a floor under variances where others add `reg_covar` to them: here both are 0. It is compiled for this processor,
  without its checks. Its threads compute means of their own, which are then joined, and its products are loops: no BLAS.

The goals beside the ratios, of wall time, are those of this project; that of exact sums is their cost in Tally.
"""
import argparse
import os
import pathlib
import sys
import tempfile

import numpy

import common

THREADS = 2
# Relative, of the objective. In single precision peers decide close calls between centres by rounding, Tally does not.
TOLERANCES = {"single": 1e-4, "double": 1e-8}
CHUNK = 1 << 14  # rows
EXACT_SUMS_GOAL = 2  # percent
SKLEARN, INTELEX, FAISS, ARMADILLO = "scikit-learn", "scikit-learn-intelex", "faiss", "Armadillo"


class Workload:
    """A model and the shape of its data; `few` and `many` are the iterations of the two fits. The goals are scikit-learn's time
    and the product's rate."""

    def __init__(self, name, model, rows, columns, components, precision="double", covariance="full", few=1, many=3,
                 quick=False, goal=None, product_goal=None):
        self.name, self.model, self.rows, self.columns, self.components = name, model, rows, columns, components
        self.precision, self.covariance, self.few, self.many, self.quick = precision, covariance, few, many, quick
        self.goal, self.product_goal = goal, product_goal

    def words(self):
        """What a peer is told."""
        return [self.model, self.covariance, self.precision, self.rows, self.columns, self.components, self.few, self.many]

    @classmethod
    def from_words(cls, words):
        model, covariance, precision = words[:3]
        rows, columns, components, few, many = map(int, words[3:])
        return cls("", model, rows, columns, components, precision, covariance, few, many)

    def real(self):
        return numpy.float32 if self.precision == "single" else numpy.float64

    def shapes(self):
        """Of the parameters, each a file of doubles."""
        K, D = self.components, self.columns
        if self.model == "kmeans":
            return {"centers": (K, D)}
        return {"weights": (K,), "means": (K, D), "covariances": (K, D, D) if self.covariance == "full" else (K, D)}

    def make_data(self):
        random = numpy.random.default_rng(11)
        spread = 0.5 if self.model == "kmeans" else 3
        centres = spread * random.standard_normal((self.components, self.columns))
        labels = random.integers(0, self.components, self.rows)
        data = centres[labels] + random.standard_normal((self.rows, self.columns))
        return data.astype(self.real()), random.choice(self.rows, self.components, replace=False)

    def start(self, data, chosen):
        locations = data[chosen].astype(float)
        if self.model == "kmeans":
            return {"centers": locations}
        variances = data.var(axis=0, dtype=float)
        covariances = {"full": numpy.tile(numpy.diag(variances), (self.components, 1, 1)),
                       "diag": numpy.tile(variances, (self.components, 1))}[self.covariance]
        return {"weights": numpy.full(self.components, 1 / self.components), "means": locations, "covariances": covariances}

    def read_data(self, folder):
        return numpy.fromfile(folder / "x", self.real()).reshape(self.rows, self.columns)

    def read_parameters(self, folder):
        return {name: numpy.fromfile(folder / name).reshape(shape) for name, shape in self.shapes().items()}

    def write_parameters(self, folder, parameters):
        for name in self.shapes():
            numpy.ascontiguousarray(parameters[name], dtype=float).tofile(folder / name)


WORKLOADS = [
    Workload("gmm full f64 200k x 32, K 64", "gmm", 200000, 32, 64, many=2, goal=20, product_goal=90),
    Workload("gmm full f64 200k x 32, K 32", "gmm", 200000, 32, 32, many=2, goal=18, product_goal=78),
    Workload("gmm full f64 100k x 64, K 32", "gmm", 100000, 64, 32, many=2, goal=10, product_goal=78),
    Workload("gmm full f64 200k x 8, K 16", "gmm", 200000, 8, 16, many=6, quick=True, goal=25),
    Workload("gmm full f64 123457 x 17, K 50", "gmm", 123457, 17, 50),
    Workload("gmm diag f64 200k x 32, K 64", "gmm", 200000, 32, 64, covariance="diag", many=5, quick=True, goal=6),
    Workload("kmeans f32 500k x 32, K 64", "kmeans", 500000, 32, 64, precision="single", few=2, many=12, quick=True, goal=2.5),
    Workload("kmeans f32 200k x 128, K 1024", "kmeans", 200000, 128, 1024, precision="single", many=4, goal=1.7),
    Workload("kmeans f32 70k x 784, K 256", "kmeans", 70000, 784, 256, precision="single", many=6, goal=1.2),
]


def inertia(data, centers):
    """Sum of squared distances to the nearest centre, (N, D) and (K, D)."""
    total = 0
    for first in range(0, len(data), CHUNK):
        rows = data[first:first + CHUNK].astype(float)
        nearest = numpy.argmin((centers**2).sum(axis=1) - 2 * rows @ centers.T, axis=1)
        total += ((rows - centers[nearest])**2).sum()
    return total


def log_likelihood(data, weights, means, covariances):
    """Of a mixture of Gaussians; covariances (K, D, D), or (K, D) of their diagonals."""
    full = covariances.ndim == 3
    factors = numpy.linalg.inv(numpy.linalg.cholesky(covariances)) if full else covariances**-0.5
    diagonals = numpy.diagonal(factors, axis1=1, axis2=2) if full else factors
    constants = numpy.log(weights) + numpy.log(diagonals).sum(axis=1) - means.shape[1] / 2 * numpy.log(2 * numpy.pi)
    total = 0
    for first in range(0, len(data), CHUNK):
        rows = data[first:first + CHUNK]
        densities = numpy.empty((len(rows), len(means)))
        for k, (mean, factor) in enumerate(zip(means, factors)):
            white = (rows - mean) @ factor.T if full else (rows - mean) * factor
            densities[:, k] = constants[k] - (white**2).sum(axis=1) / 2
        largest = densities.max(axis=1)
        total += (largest + numpy.log(numpy.exp(densities - largest[:, None]).sum(axis=1))).sum()
    return total


def objective(workload, data, parameters):
    return float((inertia if workload.model == "kmeans" else log_likelihood)(data, **parameters))


class Tally:
    """tally_bench, with exact sums and with plain ones."""

    name = "Tally"

    def __init__(self, program, workload, file, machine):
        self.machine, self.reports = machine, []
        self.command = [program, "--model", workload.model, "--components", workload.components, "--precision",
                        workload.precision, "--covariance", workload.covariance, "--reg-covar", 0, "--threads",
                        machine.threads, "--iterations", workload.many, "--repeat", 2, "--summation", "both",
                        "--data", f"{file}:/x", "--start", f"{file}:/start"]

    def measure_once(self):
        report = self.machine.run(self.command)
        self.reports.append(report)
        exact = report["exact"]
        return {"seconds": exact["median_ms"] / 1e3, "processor_seconds": exact["processor_median_ms"] / 1e3}

    def best(self, summation, clock):
        return min(report[summation][clock] for report in self.reports)

    def objective(self):
        return self.reports[-1]["objective"]

    def figures(self):
        """Percent of the matrix product and that exact sums cost, by the best of all rounds, by wall and processor time."""
        last, threads = self.reports[-1], self.machine.threads
        product = max(report["gemm_gflops"] for report in self.reports)
        product_by_processor = max(report["gemm_gflops_by_processor_time"] for report in self.reports)
        operations = last["operations"] / 1e6  # per ms: GF/s
        share = 100 * operations / self.best("exact", "best_ms") / product
        share_by_processor = 100 * threads * operations / self.best("exact", "processor_best_ms") / product_by_processor
        cost, cost_by_processor = (100 * (self.best("exact", clock) / self.best("plain", clock) - 1)
                                   for clock in ("best_ms", "processor_best_ms"))
        return {"convention": last["convention"], "gemm_gflops": product, "percent_of_gemm": share,
                "percent_of_gemm_by_processor_time": share_by_processor, "exact_cost_percent": cost,
                "exact_cost_percent_by_processor_time": cost_by_processor}


def notes(workload, figures):
    goal = f" (goal {workload.product_goal} %)" if workload.product_goal else ""
    return [f"{figures['percent_of_gemm']:.0f} % of the matrix product, {figures['percent_of_gemm_by_processor_time']:.0f} % by "
            f"processor time{goal}; exact sums cost {figures['exact_cost_percent']:+.1f} %, "
            f"{figures['exact_cost_percent_by_processor_time']:+.1f} % (goal at most {EXACT_SUMS_GOAL} %)"]


def commands(workload, installed, folder):
    """Of the peers that have this model, by name; each writes what it found into a folder of its name."""
    python_peers = [(SKLEARN, "sklearn", "sklearn_peer.py")]
    if workload.model == "kmeans":
        python_peers += [(INTELEX, "intelex", "intelex_peer.py"), (FAISS, "faiss", "faiss_peer.py")]
    found = {name: [installed.python(environment), common.FOLDER / script]
             for name, environment, script in python_peers if installed.has(environment)}
    if installed.has("armadillo"):
        found[ARMADILLO] = [installed.folder / "armadillo" / "armadillo_peer"]
    for name, command in found.items():
        (folder / name).mkdir()
        command += [folder, folder / name, *workload.words()]
    return found


def write_problem(workload, folder, data, start):
    """As HDF5 for Tally, as plain arrays for the peers."""
    import h5py
    with h5py.File(folder / "problem.h5", "w") as out:
        out["x"] = data
        for name, values in start.items():
            out[f"start/{name}"] = values
    data.tofile(folder / "x")
    workload.write_parameters(folder, start)


def measure(workload, arguments, installed, report):
    machine = common.Machine(THREADS)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        data, chosen = workload.make_data()
        write_problem(workload, folder, data, workload.start(data, chosen))
        tally = Tally(arguments.program, workload, folder / "problem.h5", machine)
        with common.Peers(commands(workload, installed, folder), machine) as peers:
            measured = common.take_turns([tally, *peers.running], arguments.rounds)
        ours = common.entry_of(workload.name, tally.name, measured.pop(tally.name), tally.objective())
        ours.update(tally.figures())
        ours["notes"] = notes(workload, ours)
        theirs = [common.entry_of(workload.name, name, times,
                                  objective(workload, data, workload.read_parameters(folder / name)))
                  for name, times in measured.items()]
    common.compare_with_tally(theirs, ours, TOLERANCES[workload.precision],
                              {SKLEARN: workload.goal} if workload.goal else {})
    report.add([ours, *theirs], peers.versions)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_arguments(parser, "peers")
    arguments = common.parse(parser)
    arguments.program = os.path.abspath(arguments.program)
    installed, report = common.Installed(arguments.peers), common.Report(arguments.name, THREADS)
    for workload in common.chosen(WORKLOADS, arguments):
        measure(workload, arguments, installed, report)
    return report.finish(installed.left_out)


if __name__ == "__main__":
    sys.exit(main())
