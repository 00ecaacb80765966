"""bench/compare: what got slower between two reports, by their quartiles."""

import copy
import json
import os
import subprocess
import sys
import unittest

from tally_cli import TallyTest, source_folder

program = os.path.join(source_folder, "bench", "compare")


def measured(low, median, high):
    return {"lower_quartile": low, "median": median, "upper_quartile": high}


report = {
    "ranks": 1,
    "threads": 2,
    "machine": {"processor": "abacus"},
    "entries": [
        {"name": "gemm", "seconds": measured(0.9, 1.0, 1.1), "processor_seconds": measured(1.9, 2.0, 2.1), "check": "right"},
        {"name": "gmm", "seconds": measured(0.09, 0.1, 0.11), "processor_seconds": measured(0.19, 0.2, 0.21), "check": "right"},
    ],
}


class Compare(TallyTest):
    def compare(self, change=lambda entries: None, *words):
        """The finished comparison of the report above with one whose entries were changed."""
        new = copy.deepcopy(report)
        change({entry["name"]: entry for entry in new["entries"]})
        files = []
        for each in (report, new):
            files.append(self.path(".json"))
            with open(files[-1], "w", encoding="utf-8") as file:
                json.dump(each, file)
        return self.run_compare(*files, *words)

    def run_compare(self, *words):
        return subprocess.run([sys.executable, program, *words], capture_output=True, text=True, timeout=60, check=False)

    def test_the_same_is_not_slower(self):
        done = self.compare()
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("2 compared by wall time, 0 slower", done.stdout)

    def test_slower_beyond_the_quartiles_is_told(self):
        done = self.compare(lambda entries: entries["gmm"].update(seconds=measured(0.12, 0.13, 0.14)))
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertRegex(done.stdout, r"gmm .* 1\.300  slower")

    def test_slower_within_the_quartiles_is_noise(self):
        done = self.compare(lambda entries: entries["gmm"].update(seconds=measured(0.1, 0.13, 0.16)))
        self.assertEqual(done.returncode, 0, done.stdout)

    def test_a_small_rise_does_not_count_however_sharp(self):
        def sharpen(entries):
            entries["gmm"]["seconds"] = measured(0.1101, 0.1102, 0.1103)

        self.assertEqual(self.compare(sharpen).returncode, 1)
        self.assertEqual(self.compare(sharpen, "--least", "0.2").returncode, 0)

    def test_faster_is_told_and_fails_nothing(self):
        done = self.compare(lambda entries: entries["gmm"].update(seconds=measured(0.05, 0.06, 0.07)))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("faster", done.stdout)

    def test_the_clock_can_be_chosen(self):
        slower = lambda entries: entries["gmm"].update(processor_seconds=measured(0.29, 0.3, 0.31))
        self.assertEqual(self.compare(slower).returncode, 0)
        self.assertEqual(self.compare(slower, "--clock", "processor").returncode, 1)
        self.assertEqual(self.compare(slower, "--clock", "processor", "--only", "gemm").returncode, 0)

    def test_a_wrong_result_fails(self):
        done = self.compare(lambda entries: entries["gmm"].update(check="WRONG: the rows sum to 1"))
        self.assertEqual(done.returncode, 1, done.stdout)
        self.assertIn("WRONG: the rows sum to 1", done.stdout)

    def test_other_names_are_shown_and_not_compared(self):
        done = self.compare(lambda entries: entries["gmm"].update(name="poisson", seconds=measured(9, 9, 9)))
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("only in the old report", done.stdout)
        self.assertIn("only in the new report", done.stdout)

    def test_what_cannot_be_read_is_neither(self):
        good = self.path(".json")
        with open(good, "w", encoding="utf-8") as file:
            json.dump(report, file)
        missing, other = self.path(), self.path(".json")
        is_no_report = f"compare: {other} is no report of tally bench: "
        for text, says in ((b"{", is_no_report + "it is no JSON: "), (b"\x89HDF" * 1000, is_no_report + "it is no text\n"),
                           (b"[]", is_no_report + "it has no entries with names\n"), (b'{"entries": []}', "nothing in common")):
            with open(other, "wb") as file:
                file.write(text)
            done = self.run_compare(good, other)
            self.assertEqual(done.returncode, 2, done.stdout)
            self.assertIn(says, done.stderr)
            self.assertLess(len(done.stderr), 300)
        done = self.run_compare(good, missing)
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertEqual(done.stderr, f"compare: {missing} cannot be read: No such file or directory\n")


if __name__ == "__main__":
    unittest.main()
