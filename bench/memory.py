#!/usr/bin/env python3
"""Peak memory of `tally fit --memory 64M` on a file that does not fit, against the formula of docs/performance.md.

The base (program, libraries, MPI, BLAS buffers) is what a fit of 1000 rows needs beyond the formula.
"""
import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import h5py
import numpy

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMPONENTS, THREADS = 64, 2
BLOCK_ROWS, TILE_ROWS = 4096, 192  # core/block.hpp
SMALL_ROWS = 1000
TOLERANCE = 0.10


def sample_bytes(rows, columns):
    """What initialisation holds; algorithms/em_scan.cpp: sample_size."""
    return min(rows, max(20000, 32 * COMPONENTS), max((1 << 23) // columns, 4 * COMPONENTS)) * (columns + 1) * 8


def block_rows(model, rows, columns):
    """Of an hmm one sequence, cut (Chain::sequence_cut)."""
    return min(rows, (1 << 19) // max(COMPONENTS, columns) if model == "hmm" else BLOCK_ROWS)


def hmm_lane_bytes(rows, columns):
    """Rows of a block: emissions, alpha and gamma (K each), scale, maximum and offset; BoundChainModel::memory_bytes."""
    features = 1 + 2 * columns
    statistics = COMPONENTS * (features + 1 + COMPONENTS)
    of_block = block_rows("hmm", rows, columns) * (3 * COMPONENTS + 3) * 8
    return THREADS * (of_block + TILE_ROWS * (-(-features // 8) * 8 + 1) * 8 + statistics * 24 + COMPONENTS**2 * 8)


def lane_bytes(model, rows, columns):
    """BoundModel::memory_bytes."""
    if model == "hmm":
        return hmm_lane_bytes(rows, columns)
    features = {"gmm": 1 + columns + columns * (columns + 1) // 2, "kmeans": 0}[model]
    statistics = COMPONENTS * {"gmm": features, "kmeans": 1 + columns}[model]
    stride = -(-features // 8) * 8
    return THREADS * (TILE_ROWS * ((stride + COMPONENTS + 1) * 8 + 12) + statistics * 24)


def resident_formula(model, rows, columns):
    return rows * (columns + 1) * 8 + lane_bytes(model, rows, columns) + sample_bytes(rows, columns)


def streaming_formula(model, rows, columns):
    block = block_rows(model, rows, columns)
    buffers = (THREADS + 2) * block * columns * 8  # Shard::streaming_bytes
    messages = rows // block * 2 * COMPONENTS * 8 if model == "hmm" else 0
    return buffers + messages + lane_bytes(model, rows, columns) + sample_bytes(rows, columns)


def write_rows(file, rows, columns):
    random = numpy.random.default_rng(5)
    centres = 3 * random.standard_normal((COMPONENTS, columns))
    with h5py.File(file, "w") as out:
        data = out.create_dataset("x", (rows, columns), dtype="f8")
        for first in range(0, rows, 1 << 14):
            count = min(1 << 14, rows - first)
            data[first:first + count] = (centres[random.integers(0, COMPONENTS, count)]
                                         + random.standard_normal((count, columns)))


def peak_bytes(tally, model, file, folder):
    command = [tally, "fit", model, f"{file}:/x", "--components", str(COMPONENTS), "--memory", "64M", "--threads",
               str(THREADS), "--max-iter", "1", "--tol", "0", "--init", "random-from-data", "--quiet", "--out",
               os.path.join(folder, "model.h5")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    peak = 0
    # Not ru_maxrss, which counts this Python too: the child starts as its copy.
    while process.poll() is None:
        with contextlib.suppress(OSError), open(f"/proc/{process.pid}/status", encoding="ascii") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    peak = max(peak, int(line.split()[1]) * 1024)
        time.sleep(0.01)
    if process.returncode != 0:
        raise SystemExit(f"tally fit ended with status {process.returncode}")
    return peak


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tally", help="the command of a Release build")
    parser.add_argument("--quick", action="store_true", help="a file of 256 MB instead of 1 GB")
    arguments = parser.parse_args()
    values = 1 << (25 if arguments.quick else 27)
    results = []
    for model, columns in (("gmm", 32), ("kmeans", 512), ("hmm", 32)):
        rows = values // columns
        with tempfile.TemporaryDirectory() as folder:
            small, large = (os.path.join(folder, name) for name in ("small.h5", "large.h5"))
            write_rows(small, SMALL_ROWS, columns)
            write_rows(large, rows, columns)
            base = peak_bytes(arguments.tally, model, small, folder) - resident_formula(model, SMALL_ROWS, columns)
            peak = peak_bytes(arguments.tally, model, large, folder)
            expected = base + streaming_formula(model, rows, columns)
            results.append({"model": model, "columns": columns, "file_bytes": os.path.getsize(large),
                            "base_bytes": base, "formula_bytes": streaming_formula(model, rows, columns),
                            "peak_bytes": peak, "difference": peak / expected - 1,
                            "agrees": abs(peak / expected - 1) <= TOLERANCE})
    for r in results:
        print(f"{r['model']:8} D {r['columns']:3}  file {r['file_bytes'] / 1e6:7.0f} MB  base {r['base_bytes'] / 1e6:6.1f} MB  formula "
              f"{r['formula_bytes'] / 1e6:5.1f} MB  peak {r['peak_bytes'] / 1e6:6.1f} MB  "
              f"{100 * r['difference']:+.1f} %  {'agrees' if r['agrees'] else 'DIFFERS'}")
    out = ROOT / "bench" / "results" / "memory.json"
    out.parent.mkdir(exist_ok=True)
    out.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0 if all(r["agrees"] for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
