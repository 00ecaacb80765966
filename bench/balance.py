#!/usr/bin/env python3
"""Times the shares that two ranks have of ragged sequences, each by itself on one thread, and prints how much longer than the mean
the longer one takes: whether ranks that the partition gives equal work are busy equally long.

Lengths are log-normal from one step on; some are long enough to be cut. They lie as drawn, and the longest first, so that one
rank has what is cut and the other what is whole. A sequence at the boundary counts as two. Takes tally_bench; needs h5py and NumPy.
"""
import argparse
import json
import os
import subprocess
import tempfile

import h5py
import numpy as np

RANKS = 2
WORKLOADS = [("categorical", 4, 1), ("gaussian-diag", 16, 8), ("gaussian-diag", 32, 8), ("gaussian-diag", 128, 8),
             ("gaussian-full", 4, 32)]


def ragged_lengths(count):
    random = np.random.default_rng(1)
    return np.maximum(1, np.exp(np.log(40) + 1.8 * random.standard_normal(count))).astype(np.int64)


def seconds_of(program, rank, lengths, emission, states, columns):
    words = ["--model", "hmm", "--emission", emission, "--states", states, "--columns", columns, "--lengths", lengths + ":/lengths",
             "--ranks", RANKS, "--rank", rank, "--threads", 1, "--iterations", 3, "--repeat", 1, "--skip-ceilings"]
    done = subprocess.run([program, *map(str, words)], capture_output=True, text=True, check=True)
    return 1e-3 * json.loads(done.stdout)["e_step_processor_ms"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("program", help="tally_bench of a Release build")
    parser.add_argument("--sequences", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3, help="ranks take turns, and the best of each counts")
    arguments = parser.parse_args()
    drawn = ragged_lengths(arguments.sequences)
    print(f"{len(drawn)} sequences of {drawn.min()} to {drawn.max()} steps, {drawn.sum()} in all; load average "
          f"{os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        files = {"as drawn": os.path.join(folder, "drawn.h5"), "longest first": os.path.join(folder, "sorted.h5")}
        for file, lengths in zip(files.values(), (drawn, np.sort(drawn)[::-1])):
            with h5py.File(file, "w") as out:
                out["lengths"] = lengths
        for emission, states, columns in WORKLOADS:
            for order, file in files.items():
                rounds = [[seconds_of(arguments.program, rank, file, emission, states, columns) for rank in range(RANKS)]
                          for _ in range(arguments.rounds)]
                best = np.min(rounds, axis=0)
                print(f"{emission} D {columns} K {states}, {order}: {' and '.join(f'{1e3 * time:.1f}' for time in best)} ms, "
                      f"imbalance {100 * (best.max() / best.mean() - 1):.1f} %", flush=True)


main()
