"""tally bench scaling: what it runs, prints, writes and draws, on sizes that measure nothing."""

import json
import os
import signal
import subprocess
import time
import unittest
import xml.etree.ElementTree as xml

from tally_cli import TallyTest, command, run, usage_status

quartiles = {"best", "lower_quartile", "median", "upper_quartile", "worst", "samples"}


class Scaling(TallyTest):
    words = ("--rows", 9000, "--columns", 3, "-k", 3, "--iterations", 3, "--repeat", 1, "--quiet")

    def scale(self, *words):
        """The report, and the plot as a tree."""
        out, plot = self.path(".json"), self.path(".svg")
        before = set(os.listdir(self.folder))
        done = self.succeed("bench", "scaling", *self.words, *words, "--folder", self.folder, "--out", out, "--plot", plot)
        self.assertEqual(set(os.listdir(self.folder)) - before, {os.path.basename(out), os.path.basename(plot)})
        with open(out, encoding="utf-8") as file:
            return done.stdout, json.load(file), xml.parse(plot).getroot()

    def test_strong_and_weak_on_one_and_two_ranks(self):
        table, report, plot = self.scale("--ranks", "1,2")
        self.assertEqual(report["benchmark"], "tally bench scaling")
        entries = {entry["name"]: entry for entry in report["entries"]}
        shape = "gmm 9000 x 3, K 3"
        self.assertEqual(list(entries), [f"{kind} {shape} on {ranks}" for kind in ("strong", "weak")
                                         for ranks in ("1 rank", "2 ranks")])
        for entry in entries.values():
            self.assertEqual(entry["check"], "right")
            self.assertEqual(set(entry["seconds"]), quartiles)
            self.assertEqual(entry["seconds"]["samples"], 3)
            parts = [entry[f"{part}_seconds"] for part in ("read", "compute", "wait", "allreduce", "M-step", "other")]
            self.assertGreater(min(parts[1], *parts[3:]), 0)
            self.assertEqual(parts[0], 0)  # the rows stay in memory
            self.assertGreaterEqual(entry["imbalance"], 0)
            self.assertAlmostEqual(entry["efficiency"], entry["speedup"] / entry["ranks"])
            self.assertIn(entry["oversubscribed"], ("yes", "no"))
        self.assertEqual(entries[f"strong {shape} on 1 rank"]["speedup"], 1)
        self.assertEqual(entries[f"strong {shape} on 2 ranks"]["rows"], 9000)
        self.assertEqual(entries[f"weak {shape} on 2 ranks"]["rows"], 18000)
        self.assertIn("speedup", table)
        self.assertEqual(table.count(" right"), 4)
        words = [text.text for text in plot.iter("{http://www.w3.org/2000/svg}text")]
        self.assertIn(f"{shape}, double, 1 thread a rank", words)
        for word in ("read", "compute", "wait", "allreduce", "M-step"):
            self.assertIn(word, words)

    def test_sequences_and_streamed_rows(self):
        _, report, _ = self.scale("--ranks", "1,2", "--kind", "weak", "--model", "hmm")
        self.assertEqual([entry["check"] for entry in report["entries"]], ["right", "right"])
        _, report, _ = self.scale("--ranks", "2", "--kind", "strong", "--memory", "64K")
        entry, = report["entries"]
        self.assertGreater(entry["read_seconds"], 0)

    def test_refusals(self):
        refuse = lambda *words, says: self.refuse("bench", "scaling", *words, status=usage_status, says=says)
        refuse("--ranks", "2,1", says="does not ascend")
        refuse("--ranks", "x", says="'x' is no number of ranks")
        refuse("--memory", "lots", says="tally: error: 'lots' is no amount of memory")
        out = self.path(".json")
        refuse("--out", out, "--plot", out, says="is named for two results")

    def test_nothing_is_left_of_one_that_is_interrupted(self):
        process = subprocess.Popen([command, "bench", "scaling", "--iterations", "100000", "--ranks", "2", "--folder",
                                    self.folder], stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (process.poll() is None and process.kill(), process.communicate()))
        deadline = time.monotonic() + 90
        while len(self.processes()) < 4:  # this, its launcher, mpirun and a rank at least
            self.assertLess(time.monotonic(), deadline, "the ranks did not start")
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        self.assertEqual(process.returncode, 128 + signal.SIGINT)
        while self.processes():
            self.assertLess(time.monotonic(), deadline, "left behind")
            time.sleep(0.05)
        self.assertEqual(os.listdir(self.folder), [])

    def processes(self):
        """Those that have this test's folder in their command line."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                try:
                    with open(f"/proc/{name}/cmdline", "rb") as file:
                        if self.folder.encode() in file.read():
                            found.append(int(name))
                except OSError:
                    pass
        return found

    def test_a_job_that_fails_is_told(self):
        process = run("bench", "scaling", *self.words, "--ranks", "1", "--folder", self.folder, "--mpirun", "/nowhere/mpirun")
        self.assertEqual(process.returncode, usage_status, process.stderr)
        self.assertIn("/nowhere/mpirun cannot be started", process.stderr)
        self.assertEqual(os.listdir(self.folder), [])


if __name__ == "__main__":
    unittest.main()
