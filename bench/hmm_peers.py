#!/usr/bin/env python3
"""Times an E-step of hidden Markov models in hmmlearn (in logarithms and scaled), dynamax (JAX on the CPU) and Tally on the
same data from the same parameters, interleaved in one run.

Each program's expected counts go through one M-step in float64; all must then give the same log-likelihood. Prints a table of
the best times, by the clock and of the processor, and writes bench/results/NAME.json. Needs hmmlearn and dynamax beside
what bench/peers.py needs.
"""
import argparse
import datetime
import importlib.metadata
import json
import logging
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOLERANCE = 1e-8  # relative, of the log-likelihood after one iteration
SYMBOLS = 16
TIMED = 5  # E-steps of a program in a round


class Workload:
    def __init__(self, emission, states, sequences, steps, columns, quick=False):
        self.emission, self.states, self.sequences, self.steps = emission, states, sequences, steps
        self.columns, self.quick = columns, quick
        self.name = f"{emission} K {states}, {sequences} x {steps}"

    def transitions(self):
        """Products of a state before and a state after, over all steps."""
        return self.sequences * (self.steps - 1) * self.states**2


def both_shapes(emission, states, rows, columns, quick=False):
    """Many sequences of 100 steps, and one that is as long as all of them."""
    return [Workload(emission, states, rows // 100, 100, columns, quick), Workload(emission, states, 1, rows, columns, quick)]


WORKLOADS = [
    *both_shapes("gaussian-diag", 4, 200000, 8, quick=True),
    *both_shapes("gaussian-diag", 32, 50000, 8, quick=True),
    *both_shapes("gaussian-diag", 50, 20000, 17),
    *both_shapes("gaussian-diag", 128, 10000, 8),
    *both_shapes("categorical", 4, 200000, 1, quick=True),
    *both_shapes("categorical", 32, 50000, 1),
    *both_shapes("categorical", 128, 10000, 1),
]


def make_problem(workload, file):
    """Writes rows, lengths and start parameters; states stay for a while, so that a chain has something to find."""
    import h5py
    import numpy
    random = numpy.random.default_rng(17)
    K, D, rows = workload.states, workload.columns, workload.sequences * workload.steps
    hidden = random.integers(0, K, rows)
    stay = random.uniform(size=rows) < 0.8
    hidden = hidden[numpy.maximum.accumulate(numpy.where(stay, 0, numpy.arange(rows)))]
    transmat = 0.5 * numpy.eye(K) + 0.5 * random.dirichlet(numpy.ones(K), K)
    start = {"startprob": numpy.full(K, 1 / K), "transmat": transmat / transmat.sum(axis=1, keepdims=True)}
    if workload.emission == "categorical":
        probabilities = random.dirichlet(numpy.ones(SYMBOLS), K)
        uniform = random.uniform(size=rows)[:, None]
        x = (probabilities.cumsum(axis=1)[hidden] < uniform).sum(axis=1).clip(0, SYMBOLS - 1)[:, None]
        mixed = 0.5 * probabilities + 0.5 / SYMBOLS
        start["probabilities"] = mixed[:, None, :]
    else:
        centres = 1.5 * random.standard_normal((K, D))
        x = centres[hidden] + random.standard_normal((rows, D))
        start["means"] = centres + 0.3 * random.standard_normal((K, D))
        start["covariances"] = numpy.full((K, D), 1.5)
    with h5py.File(file, "w") as out:
        out["x"] = x
        out["lengths"] = numpy.full(workload.sequences, workload.steps)
        for name, values in start.items():
            out[f"start/{name}"] = values
    return x, start


def maximize(workload, counts):
    """The M-step, alike for every program's counts."""
    parameters = {"startprob": counts["starts"] / counts["starts"].sum(),
                  "transmat": counts["transitions"] / counts["transitions"].sum(axis=1, keepdims=True)}
    if workload.emission == "categorical":
        symbols = counts["symbols"]
        parameters["probabilities"] = (symbols / symbols.sum(axis=1, keepdims=True))[:, None, :]
    else:
        parameters["means"] = counts["x"] / counts["states"][:, None]
        parameters["covariances"] = counts["xx"] / counts["states"][:, None] - parameters["means"]**2
    return parameters


class Hmmlearn:
    def __init__(self, workload, x, implementation):
        import hmmlearn.hmm
        self.workload, self.x, self.lengths = workload, x, [workload.steps] * workload.sequences
        if workload.emission == "categorical":
            self.model = hmmlearn.hmm.CategoricalHMM(workload.states, implementation=implementation)
            self.model.n_features = SYMBOLS
        else:
            self.model = hmmlearn.hmm.GaussianHMM(workload.states, "diag", implementation=implementation)
            self.model.n_features = workload.columns

    def take(self, parameters):
        self.model.startprob_, self.model.transmat_ = parameters["startprob"], parameters["transmat"]
        if self.workload.emission == "categorical":
            self.model.emissionprob_ = parameters["probabilities"][:, 0]
        else:
            self.model.means_, self.model.covars_ = parameters["means"], parameters["covariances"]

    def e_step(self):
        return self.model._do_estep(self.x, self.lengths)

    def counts(self, statistics_of_step):
        found = {"starts": statistics_of_step["start"], "transitions": statistics_of_step["trans"]}
        if self.workload.emission == "categorical":
            return {**found, "symbols": statistics_of_step["obs"]}
        return {**found, "states": statistics_of_step["post"], "x": statistics_of_step["obs"],
                "xx": statistics_of_step["obs**2"]}


class Dynamax:
    def __init__(self, workload, x):
        import jax
        jax.config.update("jax_enable_x64", True)
        import dynamax.hidden_markov_model as models
        self.workload = workload
        shape = (workload.sequences, workload.steps, workload.columns)
        if workload.emission == "categorical":
            self.model = models.CategoricalHMM(workload.states, workload.columns, SYMBOLS)
            self.rows = jax.numpy.asarray(x.reshape(shape), dtype=int)
        else:
            self.model = models.DiagonalGaussianHMM(workload.states, workload.columns)
            self.rows = jax.numpy.asarray(x.reshape(shape))

        def summed(parameters, rows):
            counts, log_likelihoods = jax.vmap(lambda sequence: self.model.e_step(parameters, sequence))(rows)
            return jax.tree_util.tree_map(lambda count: count.sum(axis=0), counts), log_likelihoods.sum()
        self.compiled = jax.jit(summed)
        self.wait = jax.block_until_ready

    def take(self, parameters):
        emission = {"emission_probs": parameters["probabilities"]} if self.workload.emission == "categorical" else {
            "emission_means": parameters["means"], "emission_scale_diags": parameters["covariances"]**0.5}
        self.parameters, _ = self.model.initialize(initial_probs=parameters["startprob"],
                                                   transition_matrix=parameters["transmat"], **emission)

    def e_step(self):
        counts, log_likelihood = self.wait(self.compiled(self.parameters, self.rows))
        return counts, float(log_likelihood)

    def counts(self, statistics_of_step):
        import numpy
        starts, transitions, emission = statistics_of_step
        found = {"starts": numpy.asarray(starts), "transitions": numpy.asarray(transitions)}
        if self.workload.emission == "categorical":
            return {**found, "symbols": numpy.asarray(emission["sum_x"])[:, 0]}
        return {**found, "states": numpy.asarray(emission["sum_w"]), "x": numpy.asarray(emission["sum_x"]),
                "xx": numpy.asarray(emission["sum_xsq"])}


class Peer:
    """Times of one program, each an E-step at the start parameters, and its log-likelihood after one iteration."""

    def __init__(self, workload, program, start):
        self.program, self.times, self.processor_times = program, [], []
        program.take(start)
        counts, _ = program.e_step()
        program.take(maximize(workload, program.counts(counts)))
        _, self.log_likelihood = program.e_step()
        program.take(start)

    def measure_once(self):
        """The best of as many E-steps as Tally has a round, or of those that fit a second."""
        times, processor_times = [], []
        while len(times) < TIMED and sum(times) < 1e3:
            wall, processor = time.perf_counter(), time.process_time()
            self.program.e_step()
            times.append(1e3 * (time.perf_counter() - wall))
            processor_times.append(1e3 * (time.process_time() - processor))
        self.times.append(min(times))
        self.processor_times.append(min(processor_times))


class Tally:
    def __init__(self, workload, program, file, threads):
        self.command = [program, "--model", "hmm", "--states", workload.states, "--sequences", workload.sequences, "--steps",
                        workload.steps, "--columns", workload.columns, "--emission", workload.emission, "--threads",
                        threads, "--data", f"{file}:/x", "--start", f"{file}:/start", "--iterations", TIMED, "--repeat", 1, "--skip-ceilings",
                        "--reg-covar", 0]
        self.times, self.processor_times, self.log_likelihood = [], [], None

    def measure_once(self):
        done = subprocess.run([str(word) for word in self.command], stdout=subprocess.PIPE, text=True, check=True)
        report = json.loads(done.stdout)
        self.times.append(report["e_step_ms"])
        self.processor_times.append(report["e_step_processor_ms"])
        self.log_likelihood = report["log_likelihood_after_one"]


def measure(workload, arguments, folder):
    file = os.path.join(folder, "problem.h5")
    x, start = make_problem(workload, file)
    programs = {"hmmlearn log": Peer(workload, Hmmlearn(workload, x, "log"), start),
                "hmmlearn scaling": Peer(workload, Hmmlearn(workload, x, "scaling"), start),
                "dynamax": Peer(workload, Dynamax(workload, x), start)}
    if arguments.program != "none":
        programs["tally"] = Tally(workload, arguments.program, file, arguments.threads)
    for _ in range(arguments.repeat):
        for program in programs.values():
            program.measure_once()
    reference = programs["hmmlearn log"].log_likelihood
    result = {"workload": workload.name, "emission": workload.emission, "states": workload.states,
              "sequences": workload.sequences, "steps": workload.steps, "columns": workload.columns,
              "threads": arguments.threads, "programs": {}}
    for name, program in programs.items():
        best = min(program.times)
        result["programs"][name] = {
            "median_ms": statistics.median(program.times), "best_ms": best, "worst_ms": max(program.times),
            "processor_median_ms": statistics.median(program.processor_times),
            "processor_best_ms": min(program.processor_times),
            "ns_per_transition": 1e6 * best / workload.transitions(), "log_likelihood": program.log_likelihood,
            "difference": abs(program.log_likelihood - reference) / abs(reference)}
    result["agree"] = all(one["difference"] <= TOLERANCE for one in result["programs"].values())
    if "tally" in result["programs"]:
        for ratios, clock in (("ratios", "best_ms"), ("processor_ratios", "processor_best_ms")):
            ours = result["programs"]["tally"][clock]
            result[ratios] = {name: one[clock] / ours for name, one in result["programs"].items() if name != "tally"}
    return result


def measure_all(arguments):
    """The workloads in this process, whose processors were chosen before any library counted them."""
    logging.disable(logging.WARNING)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for workload in WORKLOADS:
            if arguments.only in workload.name and (workload.quick or not arguments.quick):
                results.append(measure(workload, arguments, folder))
                print(f"{workload.name}, {arguments.threads} threads: done", file=sys.stderr)
    return results


def measure_on(threads, arguments):
    """The workloads in a process that owns as many processors."""
    command = [sys.executable, __file__, arguments.program, "--threads", str(threads), "--repeat", str(arguments.repeat),
               "--only", arguments.only, *(["--quick"] if arguments.quick else [])]
    processors = sorted(os.sched_getaffinity(0))[:threads]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": str(threads),
                   "OPENBLAS_NUM_THREADS": str(threads)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment,
                          preexec_fn=lambda: os.sched_setaffinity(0, processors))
    return json.loads(done.stdout)


def machine():
    with open("/proc/cpuinfo", encoding="ascii") as info:
        models = [line.split(":", 1)[1].strip() for line in info if line.startswith("model name")]
    return {"processor": models[0] if models else platform.processor(), "cores": os.cpu_count(),
            "load_average": os.getloadavg()[0]}


def print_table(results):
    print(f"{'workload':32} {'threads':>7}  {'program':17} {'E-step':>11} {'by cpu':>11} {'of (t,i,j)':>11} {'to Tally':>9} {'by cpu':>9}")
    for result in results:
        for name, one in result["programs"].items():
            ratios = [f"{result[clock][name]:8.1f}x" if name in result.get(clock, {}) else ""
                      for clock in ("ratios", "processor_ratios")]
            print(f"{result['workload']:32} {result['threads']:7}  {name:17} {one['best_ms']:8.1f} ms "
                  f"{one['processor_best_ms']:8.1f} ms {one['ns_per_transition']:8.2f} ns {ratios[0]:>9} {ratios[1]:>9}"
                  f"  {'' if result['agree'] else 'DIFFERS'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("program", help="the tally_bench of a Release build, or none: the peers alone")
    parser.add_argument("--quick", action="store_true", help="the short workloads alone")
    parser.add_argument("--repeat", type=int, default=5, help="rounds of all programs")
    parser.add_argument("--only", default="", help="workloads whose name contains this")
    parser.add_argument("--threads", type=int, default=0, help="measure in this process, as JSON to stdout")
    parser.add_argument("--name", default="hmm_peers", help="of the file in bench/results")
    arguments = parser.parse_args()
    if arguments.threads:
        json.dump(measure_all(arguments), sys.stdout)
        return 0
    before = machine()
    results = [result for threads in (1, 2) for result in measure_on(threads, arguments)]
    print_table(results)
    report = {
        "date": datetime.date.today().isoformat(),
        "commit": subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], stdout=subprocess.PIPE,
                                 text=True, check=False).stdout.strip(),
        "command": "bench/hmm_peers.py " + " ".join(["tally_bench"] + sys.argv[2:]),
        "machine": before,
        "versions": {"python": platform.python_version(),
                     **{name: importlib.metadata.version(name) for name in ("hmmlearn", "dynamax", "jax", "numpy")}},
        "results": results,
    }
    out = ROOT / "bench" / "results" / f"{arguments.name}.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0 if all(result["agree"] for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
