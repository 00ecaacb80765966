#!/usr/bin/env python3
"""Times an E-step of hidden Markov models in hmmlearn (in logarithms, its default, and scaled), dynamax (JAX on the CPU) and
Tally, on the same rows from the same parameters, in turns, and compares the log-likelihoods after one iteration.

All compute in double, on one thread and on two; hmmlearn has one only. Each program's expected counts go through the same
M-step in float64. The best of five E-steps counts in a round, of peers of those that fit a second.

The goals beside the ratios are those of this project, for one thread each and wall time.
"""
import argparse
import os
import pathlib
import sys
import tempfile

import numpy

import common

TOLERANCE = 1e-8  # relative, of the log-likelihood after one iteration
SYMBOLS = 16
TIMED = 5  # E-steps of a program in a round
HMMLEARN, SCALING, DYNAMAX = "hmmlearn log", "hmmlearn scaling", "dynamax"
LOG_GOALS, SCALING_GOAL = {32: 30, 128: 60}, 8  # by the number of states
TWO_THREADS_GOAL = 1.8  # times as fast as one


class Workload:
    def __init__(self, emission, states, sequences, steps, columns, quick=False):
        self.emission, self.states, self.sequences, self.steps = emission, states, sequences, steps
        self.columns, self.quick = columns, quick
        self.name = f"{emission} K {states}, {sequences} x {steps}"

    def words(self):
        """What a peer is told."""
        return [self.emission, self.states, self.sequences, self.steps, self.columns]

    @classmethod
    def from_words(cls, words):
        return cls(words[0], *map(int, words[1:]))

    def transitions(self):
        """Products of a state before and a state after, over all steps."""
        return self.sequences * (self.steps - 1) * self.states**2

    def goals(self):
        found = {SCALING: SCALING_GOAL}
        if self.states in LOG_GOALS:
            found[HMMLEARN] = LOG_GOALS[self.states]
        return found

    def make(self):
        """Rows and start parameters; states stay for a while, so that a chain has something to find."""
        random = numpy.random.default_rng(17)
        K, D, rows = self.states, self.columns, self.sequences * self.steps
        hidden = random.integers(0, K, rows)
        stay = random.uniform(size=rows) < 0.8
        hidden = hidden[numpy.maximum.accumulate(numpy.where(stay, 0, numpy.arange(rows)))]
        transmat = 0.5 * numpy.eye(K) + 0.5 * random.dirichlet(numpy.ones(K), K)
        start = {"startprob": numpy.full(K, 1 / K), "transmat": transmat / transmat.sum(axis=1, keepdims=True)}
        if self.emission == "categorical":
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
        return x, start


def both_shapes(emission, states, rows, columns, quick=()):
    """Many sequences of 100 steps, and one that is as long as all of them; those of `quick` many are short workloads."""
    return [Workload(emission, states, count, rows // count, columns, count in quick) for count in (rows // 100, 1)]


WORKLOADS = [
    *both_shapes("gaussian-diag", 4, 200000, 8, quick=(2000,)),
    *both_shapes("gaussian-diag", 32, 50000, 8, quick=(500, 1)),
    *both_shapes("gaussian-diag", 50, 20000, 17),
    *both_shapes("gaussian-diag", 128, 10000, 8),
    *both_shapes("categorical", 4, 200000, 1, quick=(1,)),
    *both_shapes("categorical", 32, 50000, 1),
    *both_shapes("categorical", 128, 10000, 1),
]


def write_problem(workload, folder):
    """As HDF5 for Tally, as NumPy's files for the peers."""
    import h5py
    x, start = workload.make()
    with h5py.File(folder / "problem.h5", "w") as out:
        out["x"] = x
        out["lengths"] = numpy.full(workload.sequences, workload.steps)
        for name, values in start.items():
            out[f"start/{name}"] = values
    numpy.save(folder / "x.npy", x)
    numpy.savez(folder / "start.npz", **start)


class Tally:
    name = "Tally"

    def __init__(self, program, workload, file, machine):
        self.machine = machine
        self.command = [program, "--model", "hmm", "--states", workload.states, "--sequences", workload.sequences, "--steps",
                        workload.steps, "--columns", workload.columns, "--emission", workload.emission, "--threads",
                        machine.threads, "--data", f"{file}:/x", "--start", f"{file}:/start", "--iterations", TIMED,
                        "--repeat", 1, "--skip-ceilings", "--reg-covar", 0]

    def measure_once(self):
        report = self.machine.run(self.command)
        return {"seconds": report["e_step_ms"] / 1e3, "processor_seconds": report["e_step_processor_ms"] / 1e3,
                "objective": report["log_likelihood_after_one"]}


def commands(installed, folder, workload):
    if not installed.has("hmm"):
        return {}
    return {name: [installed.python("hmm"), common.FOLDER / "hmm_peer.py", name, folder, *workload.words()]
            for name in (HMMLEARN, SCALING, DYNAMAX)}


def measure(workload, threads, arguments, installed):
    """Entries of the programs, Tally's first, and the versions of the peers."""
    machine = common.Machine(threads)
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        write_problem(workload, folder)
        tally = Tally(arguments.program, workload, folder / "problem.h5", machine)
        with common.Peers(commands(installed, folder, workload), machine) as peers:
            measured = common.take_turns([tally, *peers.running], arguments.rounds)
    title = f"{workload.name}, {threads} thread{'s' if threads > 1 else ''}"
    entries = [common.entry_of(title, name, times, times[-1]["objective"]) for name, times in measured.items()]
    common.compare_with_tally(entries[1:], entries[0], TOLERANCE, workload.goals() if threads == 1 else {})
    for entry in entries:
        nanoseconds = 1e9 * entry["seconds"]["median"] / workload.transitions()
        entry.update(threads=threads, ns_per_transition=nanoseconds)
    return entries, peers.versions


def note_threads(one, two):
    """What the second thread gains Tally."""
    gain, gain_of_best = (one["seconds"][time] / two["seconds"][time] for time in ("median", "best"))
    two["notes"].append(f"{gain:.2f} times as fast as on one thread, {gain_of_best:.2f} by the best (goal {TWO_THREADS_GOAL})")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    common.add_arguments(parser, "hmm_peers")
    arguments = common.parse(parser)
    arguments.program = os.path.abspath(arguments.program)
    installed, report = common.Installed(arguments.peers), common.Report(arguments.name, 2)
    for workload in common.chosen(WORKLOADS, arguments):
        one, versions = measure(workload, 1, arguments, installed)
        two, _ = measure(workload, 2, arguments, installed)
        note_threads(one[0], two[0])
        report.add(one + two, versions)
    return report.finish(installed.left_out)


if __name__ == "__main__":
    sys.exit(main())
