#!/usr/bin/env python3
"""zero_transitions.py TALLY: what a pass over one long sequence costs where transitions of probability 0 make its messages go in
numbers of any size (docs/hidden_markov_models.md#long-sequences), beside one whose transitions are all possible.

Processor time of `tally fit` on one thread, start-up taken off. Needs NumPy and h5py."""

import os
import resource
import subprocess
import sys
import tempfile

import h5py
import numpy as np

steps = 200000
iterations = 4  # beyond the first
rounds = 3


def transitions(kind, states):
    if kind == "all possible":
        matrix = np.full((states, states), 0.1 / (states - 1))
    else:
        matrix = np.zeros((states, states))
        matrix[np.arange(states), (np.arange(states) + 1) % states] = 0.1
    np.fill_diagonal(matrix, 0.9)
    return matrix


def processor_seconds(words):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    subprocess.run(words, check=True, capture_output=True)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before


def ns_per_step(tally, folder, kind, states):
    data, start = os.path.join(folder, "data.h5"), os.path.join(folder, f"start{states}.h5")
    with h5py.File(start, "w") as file:
        group = file.create_group("start")
        group["startprob"] = np.full(states, 1 / states)
        group["transmat"] = transitions(kind, states)
        group["means"] = np.linspace(-3, 3, states)[:, None]
        group["covariances"] = np.ones((states, 1))

    def fit(more):
        return processor_seconds(
            [tally, "fit", "hmm", f"{data}:/x", "--states", str(states), "--emission", "gaussian", "--init",
             f"parameters:{start}:/start", "--freeze", "startprob,transmat,means,covariances", "--max-iter", str(1 + more),
             "--tol", "0", "--threads", "1", "--quiet", "--out", os.path.join(folder, "out.h5")])

    return min(fit(iterations) - fit(0) for _ in range(rounds)) / iterations / steps * 1e9


def main():
    tally = sys.argv[1]
    print("| States | all possible, ns a step | each to two, ns a step | ratio |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        with h5py.File(os.path.join(folder, "data.h5"), "w") as file:
            file["x"] = 2 * np.random.default_rng(1).normal(size=(steps, 1))
        for states in (4, 8, 16, 32):
            dense, cyclic = (ns_per_step(tally, folder, kind, states) for kind in ("all possible", "each to two"))
            print(f"| {states} | {dense:.0f} | {cyclic:.0f} | {cyclic / dense:.1f} |", flush=True)


if __name__ == "__main__":
    main()
