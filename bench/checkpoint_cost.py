#!/usr/bin/env python3
"""What checkpoints cost a fit at the default interval.

Measured as it is, with and without in turns, and, since that is less than what other work on the machine does to a fit, from
what one checkpoint of that size costs: many of them in a fit of few rows.
"""
import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
DEFAULT_INTERVAL = 10  # --every
FEW_ROWS, MANY_CHECKPOINTS = 2000, 100


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tally", default=ROOT / "build/launch/tally", type=pathlib.Path)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--columns", type=int, default=32)
    parser.add_argument("--components", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=20)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--folder", help="on the disk that is measured (default: the system's for temporaries)")
    return parser.parse_args()


def run(*words):
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)


class Fits:
    """Of so many rows, with checkpoints and without, in turns."""

    def __init__(self, arguments, folder, rows, iterations, every):
        self.folder, self.iterations, self.every = folder, iterations, every
        self.checkpoints = os.path.join(folder, "checkpoints")
        data = os.path.join(folder, f"{rows}.h5")
        run(arguments.tally, "generate", "gmm", "--rows", rows, "--columns", arguments.columns, "--components",
            arguments.components, "--out", data)
        self.line = [arguments.tally, "fit", "gmm", data + ":/x", "--components", arguments.components, "--init",
                     "random-from-data", "--tol", 0, "--max-iter", iterations, "--out", os.path.join(folder, "model.h5"),
                     "--quiet"]
        self.without, self.with_them, self.bytes = [], [], 0

    def turn(self, number):
        for checkpoints in (False, True) if number % 2 else (True, False):
            shutil.rmtree(self.checkpoints, ignore_errors=True)
            start = time.monotonic()
            run(*self.line, *(["--checkpoint", self.checkpoints, "--every", self.every] if checkpoints else []))
            (self.with_them if checkpoints else self.without).append(time.monotonic() - start)
            if checkpoints:
                self.bytes = max(entry.stat().st_size for entry in os.scandir(self.checkpoints))

    def report(self):
        def spread(values):
            return {"median": statistics.median(values), "least": min(values), "most": max(values)}
        return {"without": spread(self.without), "with": spread(self.with_them)}

    def difference(self):
        return statistics.median(self.with_them) - statistics.median(self.without)


def main():
    arguments = parse()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        whole = Fits(arguments, folder, arguments.rows, arguments.iterations, DEFAULT_INTERVAL)
        small = Fits(arguments, folder, FEW_ROWS, MANY_CHECKPOINTS - 1, 1)
        for number in range(arguments.repeat):
            whole.turn(number)
            small.turn(number)
    seconds = small.difference() / MANY_CHECKPOINTS
    iteration = statistics.median(whole.without) / (arguments.iterations + 1)
    share = seconds / (DEFAULT_INTERVAL * iteration)
    print(json.dumps({
        "rows": arguments.rows, "columns": arguments.columns, "components": arguments.components,
        "load_average": os.getloadavg()[0], "fit_seconds": whole.report(), "small_fit_seconds": small.report(),
        "checkpoint_bytes": whole.bytes, "checkpoint_seconds": seconds, "iteration_seconds": iteration,
        "share_in_turns": whole.difference() / statistics.median(whole.without), "share": share}, indent=1))
    return 0 if share < 0.01 else 1


if __name__ == "__main__":
    sys.exit(main())
