#!/usr/bin/env python3
"""missing.py TALLY: what missing values cost: processor time of an iteration over that of complete rows, in turns, medians.

Rows about as many centres as there are components, each value missing with the same probability. Needs NumPy and h5py."""

import argparse
import json
import os
import resource
import statistics
import subprocess
import tempfile

import h5py
import numpy as np

few, many = 1, 3  # M-steps
shares = (0.001, 0.01, 0.1, 0.3)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tally")
    parser.add_argument("--rows", type=int, default=60000)
    parser.add_argument("--columns", type=int, default=32)
    parser.add_argument("--components", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("-o", "--out", help="report, JSON")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tally-missing-") as folder:
        random = np.random.default_rng(1)
        centres = 4 * random.normal(size=(arguments.components, arguments.columns))
        x = centres[random.integers(arguments.components, size=arguments.rows)] + random.normal(size=(arguments.rows, arguments.columns))
        path = os.path.join(folder, "data.h5")
        with h5py.File(path, "w") as file:
            for share in (0, *shares):
                file[f"x{share}"] = np.where(random.random(x.shape) < share, np.nan, x)

        def seconds(covariance, name, missing, iterations):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            subprocess.run([arguments.tally, "fit", "gmm", f"{path}:/{name}", "--components", str(arguments.components),
                            "--covariance", covariance, "--missing", missing, "--init", "random-from-data", "--tol", "0",
                            "--threads", "1", "--quiet", "--max-iter", str(iterations), "--out", os.path.join(folder, "model.h5")],
                           check=True, stdout=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

        report = {"command": "bench/missing.py", **{name: value for name, value in vars(arguments).items() if name not in ("tally", "out")}}
        for covariance in ("full", "diag"):
            cases = {"complete": ("x0", "error"), "none missing": ("x0", "nan"), **{f"{100 * s:g} %": (f"x{s}", "nan") for s in shares}}
            times = {name: [] for name in cases}
            for _ in range(arguments.repeat):
                for name, case in cases.items():
                    times[name].append((seconds(covariance, *case, many) - seconds(covariance, *case, few)) / (many - few))
            complete = statistics.median(times["complete"])
            report[covariance] = {name: {"seconds": statistics.median(t), "over_complete": statistics.median(t) / complete}
                                  for name, t in times.items()}
            for name, entry in report[covariance].items():
                print(f"{covariance:6}{name:>14}{1000 * entry['seconds']:10.0f} ms {entry['over_complete']:8.2f}")
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
