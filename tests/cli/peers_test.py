"""bench/peers: programs in turns, the spread of their times, and the check of what they found."""

import argparse
import contextlib
import io
import json
import math
import os
import pathlib
import subprocess
import sys
import unittest

from tally_cli import TallyTest, source_folder

peers_folder = os.path.join(source_folder, "bench", "peers")
sys.path.insert(0, peers_folder)

import chains  # noqa: E402
import common  # noqa: E402
import mixtures  # noqa: E402
import numpy  # noqa: E402

# A peer that notes its turns in a file, and says how long its answers take.
PEER = f"""
import sys
sys.path.insert(0, {peers_folder!r})
import common
name, log, seconds = sys.argv[1:]
def measure_once():
    print("said by a library")
    with open(log, "a") as file:
        file.write(name)
    return {{"seconds": float(seconds), "processor_seconds": 2 * float(seconds)}}
common.serve({{name: "1.0"}}, measure_once)
"""


class Turns(TallyTest):
    def peer(self, name, log, seconds=1.0):
        return [sys.executable, "-c", PEER, name, log, seconds]

    def test_in_every_round_each_program_has_one_turn(self):
        log = self.path(".log")
        commands = {name: self.peer(name, log) for name in "abc"}

        with common.Peers(commands, common.Machine(1)) as peers:
            measured = common.take_turns(peers.running, 2)

        with open(log, encoding="ascii") as file:
            self.assertEqual(file.read(), "abcabc")
        self.assertEqual(measured["b"], 2 * [{"seconds": 1.0, "processor_seconds": 2.0}])
        self.assertEqual(peers.versions, {"a": "1.0", "b": "1.0", "c": "1.0"})

    def test_a_peer_that_dies_ends_the_comparison_and_the_others(self):
        log = self.path(".log")
        peers = common.Peers({"a": self.peer("a", log), "b": [sys.executable, "-c", "raise SystemExit(3)"]}, common.Machine(1))

        with self.assertRaisesRegex(SystemExit, "b ended with status 3"), peers:
            self.fail("it has not started")

        self.assertEqual([peer.process.returncode for peer in peers.running], [0, 3])

    def test_what_is_not_installed_is_left_out_with_a_word(self):
        folder = pathlib.Path(self.path(""))
        (folder / "faiss").mkdir(parents=True)
        (folder / "faiss" / "ready").touch()
        installed = common.Installed(folder)

        with contextlib.redirect_stderr(io.StringIO()) as said:
            found = [installed.has(name) for name in ("sklearn", "faiss", "sklearn")]

        self.assertEqual(found, [False, True, False])
        self.assertEqual(said.getvalue().count("left out: sklearn"), 1)


class Figures(TallyTest):
    def entries(self, objective=-100.0, tolerance=1e-8):
        measured = lambda seconds: [{"seconds": s, "processor_seconds": 2 * s} for s in seconds]
        tally = common.entry_of("toy", "Tally", measured([1, 2, 3, 4, 9]), -100.0)
        peer = common.entry_of("toy", "abacus", measured([30]), objective)
        common.compare_with_tally([peer], tally, tolerance, {"abacus": 12})
        return [tally, peer]

    def finish(self, entries, left_out=()):
        """Status, table and report of a comparison."""
        report = common.Report("peers_test", 2)
        report.results = pathlib.Path(self.path(""))
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()) as table:
            report.add(entries, {"abacus": "2.0"})
            status = report.finish(list(left_out))
        return status, table.getvalue(), report.results / "peers_test.json"

    def test_times_are_medians_with_quartiles(self):
        tally, peer = self.entries()

        self.assertEqual([tally["seconds"][name] for name in ("best", "lower_quartile", "median", "upper_quartile", "worst")],
                         [1, 2, 3, 4, 9])
        self.assertEqual(peer["processor_seconds"]["upper_quartile"], 60)

    def test_ratios_are_of_medians_and_stand_beside_their_goal(self):
        status, table, _ = self.finish(self.entries(), ["faiss"])

        self.assertEqual(status, 0)
        self.assertRegex(table, r"abacus .* 10\.0x +10\.0x +12x")
        self.assertIn("left out: faiss", table)

    def test_another_objective_is_wrong_and_fails(self):
        for objective in (-100.001, math.nan):
            status, table, _ = self.finish(self.entries(objective))
            self.assertEqual(status, 1)
            self.assertIn("WRONG: ", table)
        self.assertEqual(self.finish(self.entries(-100.001, tolerance=1e-4))[0], 0)

    def test_compare_reads_the_report(self):
        report = self.finish(self.entries())[2]

        done = subprocess.run([sys.executable, os.path.join(source_folder, "bench", "compare"), report, report],
                              capture_output=True, text=True, timeout=60, check=False)

        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("2 compared", done.stdout)
        with open(report, encoding="utf-8") as file:
            self.assertEqual(json.load(file)["versions"]["abacus"], "2.0")


class Objectives(unittest.TestCase):
    rows = numpy.array([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]])

    def test_inertia_is_that_of_the_nearest_centres(self):
        centers = numpy.array([[0.0, 0.0], [2.0, 1.0]])

        self.assertEqual(mixtures.inertia(self.rows, centers), 0 + 1 + 1)

    def test_log_likelihood_is_that_of_the_density(self):
        weights, means = numpy.array([0.25, 0.75]), numpy.array([[0.0, 0.0], [1.0, 0.0]])
        covariances = numpy.array([[[1.0, 0.0], [0.0, 4.0]], [[2.0, 1.0], [1.0, 2.0]]])
        # At (0, 0): determinants 4 and 3, and the inverse of the second has 2/3 on its diagonal.
        first = 0.25 / (2 * math.pi * 2) + 0.75 * math.exp(-1 / 3) / (2 * math.pi * math.sqrt(3))

        self.assertAlmostEqual(mixtures.log_likelihood(self.rows[:1], weights, means, covariances), math.log(first), 12)

    def test_diagonals_are_covariances(self):
        weights, means, variances = numpy.array([0.25, 0.75]), self.rows[:2], numpy.array([[1.0, 4.0], [2.0, 3.0]])
        full = numpy.array([numpy.diag(each) for each in variances])

        self.assertAlmostEqual(mixtures.log_likelihood(self.rows, weights, means, variances),
                               mixtures.log_likelihood(self.rows, weights, means, full), 12)


class Workloads(TallyTest):
    def test_a_peer_reads_what_was_written(self):
        for workload in mixtures.WORKLOADS[:1] + mixtures.WORKLOADS[-1:]:
            small = mixtures.Workload("small", workload.model, 40, 3, 4, workload.precision, workload.covariance)
            folder = pathlib.Path(self.path(""))
            folder.mkdir()
            data, chosen = small.make_data()
            start = small.start(data, chosen)
            mixtures.write_problem(small, folder, data, start)

            peer = mixtures.Workload.from_words([str(word) for word in small.words()])

            numpy.testing.assert_array_equal(peer.read_data(folder), data)
            for name, values in peer.read_parameters(folder).items():
                numpy.testing.assert_array_equal(values, start[name])

    def test_there_are_short_ones(self):
        for workloads in (mixtures.WORKLOADS, chains.WORKLOADS):
            arguments = argparse.Namespace(only="", quick=True)
            self.assertGreater(len(common.chosen(workloads, arguments)), 1)
            self.assertLess(len(common.chosen(workloads, arguments)), len(workloads))


if __name__ == "__main__":
    unittest.main()
