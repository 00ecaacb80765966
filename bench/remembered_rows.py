#!/usr/bin/env python3
"""remembered_rows.py TALLY: what k-means gains by what it remembers of rows: processor time of 60 iterations, in turns, medians.

The same fit with and without memory for it: --memory leaves room for the rows alone. Both must give the same inertia, to the
last bit. Rows about 3 widths apart centres, and without any centres. Needs NumPy and h5py."""

import argparse
import json
import os
import resource
import statistics
import subprocess
import tempfile

import h5py
import numpy as np

few, many = 0, 60  # M-steps
cases = (("clusters", 500000, 32, 64), ("none", 500000, 32, 64), ("clusters", 1000000, 8, 16), ("none", 2000000, 2, 16),
         ("none", 100000, 128, 256))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tally")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("-o", "--out", help="report, JSON")
    arguments = parser.parse_args()
    report = {"command": "bench/remembered_rows.py", "repeat": arguments.repeat, "cases": []}
    print("rows         columns  centres  data      searched   remembered  times faster")
    for kind, rows, columns, centres in cases:
        with tempfile.TemporaryDirectory(prefix="tally-remembered-") as folder:
            random = np.random.default_rng(1)
            path, model = os.path.join(folder, "data.h5"), os.path.join(folder, "model.h5")
            x = random.normal(size=(rows, columns))
            if kind == "clusters":
                x += 3 * random.normal(size=(centres, columns))[random.integers(centres, size=rows)]
            with h5py.File(path, "w") as file:
                file["x"] = x

            def seconds(iterations, words):
                before = resource.getrusage(resource.RUSAGE_CHILDREN)
                subprocess.run([arguments.tally, "fit", "kmeans", f"{path}:/x", "--components", str(centres), "--seed", "1",
                                "--init", "random-from-data", "--tol", "0", "--threads", "1", "--quiet", "--max-iter", str(iterations),
                                "--out", model, *words], check=True, stdout=subprocess.DEVNULL)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                with h5py.File(model, "r") as file:
                    trace = file["training/objective"][()]
                return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, trace

            # The rows and their offsets, as tally plan counts them, and less than 8 bytes a row more.
            ways = {"searched": ["--memory", f"{rows * (8 * columns + 12) // 1024}K"], "remembered": []}
            times, traces = {way: [] for way in ways}, {}
            for _ in range(arguments.repeat):
                for way, words in ways.items():
                    long, traces[way] = seconds(many, words)
                    times[way].append((long - seconds(few, words)[0]) / (len(traces[way]) - 1))
            if traces["searched"].tobytes() != traces["remembered"].tobytes():
                raise SystemExit("the two differ")
            searched, remembered = (statistics.median(times[way]) for way in ways)
            report["cases"].append({"data": kind, "rows": rows, "columns": columns, "components": centres,
                                    "iterations": len(traces["searched"]) - 1, "seconds_searched": searched,
                                    "seconds_remembered": remembered})
            print(f"{rows:<12} {columns:<8} {centres:<8} {kind:<9} {1000 * searched:7.1f} ms {1000 * remembered:9.1f} ms"
                  f" {searched / remembered:9.2f}", flush=True)
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
