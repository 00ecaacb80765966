#!/usr/bin/env python3
"""restarts.py TALLY: what several starts cost that are fitted together, and what `tally select` costs beside fits one after another.

Processor time of an iteration on one thread, from fits of many and of few iterations, so that setting up does not count; in turns,
medians with the least and the most. Rows are read again in every iteration where it says streamed. Needs NumPy and h5py."""

import argparse
import json
import os
import resource
import statistics
import subprocess
import tempfile

few, many = 2, 8  # M-steps


class Fits:
    """A command line that fits, and the processor time of one of its iterations, in turn after turn."""

    def __init__(self, *lines):
        self.lines, self.times = [[str(word) for word in line] for line in lines], []

    def seconds(self, iterations):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for line in self.lines:
            subprocess.run([*line, "--max-iter", str(iterations)], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    def turn(self):
        self.times.append((self.seconds(many) - self.seconds(few)) / (many - few))

    def median(self):
        return statistics.median(self.times)

    def report(self):
        return {"median": self.median(), "least": min(self.times), "most": max(self.times)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tally")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("-o", "--out", help="report, JSON")
    arguments = parser.parse_args()
    report = {"command": "bench/restarts.py", "entries": {}}
    with tempfile.TemporaryDirectory(prefix="tally-restarts-") as folder:
        def made(model, name, **shape):
            data = os.path.join(folder, name + ".h5")
            words = [word for key, value in shape.items() for word in (f"--{key}", str(value))]
            subprocess.run([arguments.tally, "generate", model, *words, "--out", data], check=True, stdout=subprocess.DEVNULL)
            return data + ":/x"

        def fit(model, data, components, *words):
            return [arguments.tally, "fit", model, data, "--components", components, "--init", "random-from-data", "--tol", 0,
                    "--threads", 1, "--quiet", "--out", os.path.join(folder, "model.h5"), *words]

        def select(data, *words):
            return [arguments.tally, "select", "gmm", data, "--init", "random-from-data", "--tol", 0, "--threads", 1, "--quiet",
                    *words]

        wide = made("gmm", "wide", rows=20000, columns=64, components=2)
        counts = made("poisson", "counts", rows=200000, columns=32, components=2)
        usual = made("gmm", "usual", rows=60000, columns=16, components=8)
        cases = {}
        for name, model, data, components, words in (
                ("one component: gmm full, D 64, K 1", "gmm", wide, 1, ()),
                ("reading: poisson, D 32, K 2, streamed", "poisson", counts, 2, ("--memory", "2M")),
                ("products: gmm full, D 16, K 8", "gmm", usual, 8, ())):
            one, eight = (Fits(fit(model, data, components, *words, "--n-init", starts)) for starts in (1, 8))
            cases[name + ": 8 starts over 1"] = (one, eight, 8)
        numbers, shapes = (2, 4, 6, 8), ("full", "tied", "diag")
        alone = Fits(*(fit("gmm", usual, k, "--covariance", shape, "--n-init", 2) for shape in shapes for k in numbers))
        together = Fits(select(usual, "-k", ",".join(map(str, numbers)), "--covariance", ",".join(shapes), "--n-init", 2))
        cases["select: 12 models together over one after another"] = (alone, together, 1)

        for turn in range(arguments.repeat):
            for first, second, _ in cases.values():
                for each in (first, second) if turn % 2 else (second, first):
                    each.turn()
        for name, (first, second, most) in cases.items():
            ratio = second.median() / first.median()
            print(f"{name:55} {1e3 * second.median():9.2f} ms over {1e3 * first.median():9.2f} ms: {ratio:.2f}"
                  f" (as many as there are: {most})")
            report["entries"][name] = {"ratio": ratio, "together": second.report(), "alone": first.report()}
    report["load"] = os.getloadavg()
    if arguments.out:
        with open(arguments.out, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
