#!/usr/bin/env python3
"""Fits a categorical chain of 4 states to one sequence of 1e8 steps on two ranks, rows streamed, and prints the time of an
iteration and the most memory that any process took: what a sequence needs that no rank holds whole.

Takes the tally command; needs h5py, NumPy and mpirun (through tests/mpirun.sh).
"""
import argparse
import json
import os
import pathlib
import resource
import subprocess
import tempfile

import h5py
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
TRANSITIONS = np.array([[.90, .05, .03, .02], [.10, .80, .05, .05], [.02, .08, .85, .05], [.05, .05, .10, .80]])
EMISSIONS = np.array([[.70, .10, .10, .05, .05], [.10, .60, .10, .10, .10], [.05, .05, .70, .10, .10], [.10, .10, .10, .10, .60]])


def states_of(count, random):
    """A path of the chain, made of runs, whose lengths are geometric."""
    path, state = [], 0
    while sum(map(len, path)) < count:
        stays = TRANSITIONS[state, state]
        path.append(np.full(random.geometric(1 - stays), state))
        leaves = np.delete(np.arange(4), state)
        state = random.choice(leaves, p=TRANSITIONS[state, leaves] / (1 - stays))
    return np.concatenate(path)[:count]


def write_sequence(file, steps):
    """Symbols of new random numbers over a path of 20 000 states that repeats: the fit does the same work."""
    random = np.random.default_rng(1)
    pattern = states_of(20000, random)
    cumulative = EMISSIONS.cumsum(axis=1)
    with h5py.File(file, "w") as out:
        data = out.create_dataset("x", (steps,), dtype="i1", chunks=(min(steps, 1 << 20),))
        for first in range(0, steps, 1 << 20):
            count = min(1 << 20, steps - first)
            states = np.resize(np.roll(pattern, -first), count)
            draws = random.random(count)
            data[first:first + count] = (draws[:, None] > cumulative[states, :-1]).sum(axis=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="the tally command of a Release build")
    parser.add_argument("--steps", type=int, default=100_000_000)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--memory", default="512M", help="for the rows of each rank")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file, log = os.path.join(folder, "x.h5"), os.path.join(folder, "log.json")
        write_sequence(file, arguments.steps)
        subprocess.run([str(ROOT / "tests/mpirun.sh"), "-n", str(arguments.ranks), arguments.program, "fit", "hmm", file + ":/x",
                        "--states", "4", "--emission", "categorical", "--threads", "1", "--max-iter", "2", "--tol", "0",
                        "--memory", arguments.memory, "--log", log, "--quiet", "--out", os.path.join(folder, "model.h5")],
                       check=True)
        with open(log, encoding="utf-8") as lines:
            iterations = [event for event in map(json.loads, lines) if event.get("event") == "iteration"]
    largest = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    print(f"{arguments.steps} steps on {arguments.ranks} ranks: at most {largest:.0f} MiB a process")
    for iteration in iterations:
        print(json.dumps(iteration))


main()
