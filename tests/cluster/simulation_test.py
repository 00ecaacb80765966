"""bench/simulate: fits on simulated ranks agree with the analytic model of docs/scaling.md, and all ranks with each other."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

program = os.environ.get("TALLY_SIMULATE")
script = os.path.join(os.environ["TALLY_SOURCE_DIR"], "bench", "simulate", "simulate.py")
# Sums of 333 KB; 49 blocks of 4096 rows for each rank.
usual = ["-d", "24", "-k", "64", "--rows-per-rank", str(49 * 4096), "--row-rate", "1e7", "--m-step", "1e-4", "--iterations", "3"]


def setUpModule():
    if not program:
        raise unittest.SkipTest("SimGrid (libsimgrid-dev) was not found when Tally was configured")


def simulate(*options):
    with tempfile.TemporaryDirectory() as folder:
        report = os.path.join(folder, "report.json")
        subprocess.run([sys.executable, script, program, *usual, *options, "-o", report], check=True, timeout=200,
                       stdout=subprocess.DEVNULL)
        with open(report) as file:
            return json.load(file)["entries"]


class SimulationTest(unittest.TestCase):
    def test_agrees_with_the_analytic_model(self):
        for case in simulate("--ranks", "4,16", "--noise", "0"):
            with self.subTest(topology=case["topology"], ranks=case["ranks"]):
                simulated, analytic = case["seconds"], case["analytic_seconds"]
                self.assertTrue(case["bits_agree"])
                self.assertAlmostEqual(simulated["compute"], 49 * 4096 / 1e7, delta=1e-9)
                self.assertAlmostEqual(simulated["iteration"], analytic["iteration"], delta=0.01 * analytic["iteration"])
                # No path of a tree has the longest links at every step.
                self.assertLess(abs(simulated["allreduce"] / analytic["allreduce"] - 1), 0.15)

    def test_a_rank_talks_with_few_others(self):
        case, = simulate("--ranks", "64", "--topology", "switch", "--rows-per-rank", "4096")
        self.assertLess(case["traffic"]["peers"], 3 * 6)

    def test_noise_makes_ranks_wait_for_the_slowest(self):
        quiet, = simulate("--ranks", "8", "--topology", "switch", "--noise", "0")
        noisy, = simulate("--ranks", "8", "--topology", "switch", "--noise", "0.1")
        self.assertLess(quiet["seconds"]["wait"], 1e-4)
        self.assertGreater(noisy["seconds"]["wait"], 0.5 * 0.1 * quiet["seconds"]["compute"])

    def test_large_sums_are_faster_in_halves_than_whole(self):
        large = ["--ranks", "16", "--topology", "fat-tree", "--noise", "0"]
        whole, = simulate(*large, "--allreduce", "binomial")
        halves, = simulate(*large, "--allreduce", "rabenseifner")
        self.assertLess(2 * halves["seconds"]["allreduce"], whole["seconds"]["allreduce"])


if __name__ == "__main__":
    unittest.main()
