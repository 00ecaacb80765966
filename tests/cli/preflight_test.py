"""tally preflight: what each rank measures, and the bindings that it names."""

import json
import os
import resource
import subprocess
import unittest
from unittest import mock

import h5py
import numpy as np

from tally_cli import TallyTest, command, run, usage_status


class PreflightTest(TallyTest):
    def setUp(self):
        super().setUp()
        random = np.random.default_rng(7)
        self.data = self.write_data(random.normal(size=(40960, 16)))
        self.fit = ["fit", "gmm", self.data, "-k", "3"]
        self.processors = sorted(os.sched_getaffinity(0))

    def report(self, *words, ranks=1):
        process = run(*words, ranks=ranks)
        report = json.loads(process.stdout)
        self.assertEqual(process.returncode, 1 if report["findings"] else 0, process.stderr)
        return report

    def amiss(self, report, kind):
        return [finding for finding in report["findings"] if finding["kind"] == kind]

    def test_one_rank_alone_is_fine(self):
        process = self.succeed("preflight", self.data)
        self.assertIn("GEMM GFLOP/s", process.stdout)
        self.assertTrue(process.stdout.endswith("nothing amiss\n"), process.stdout)

    def test_too_many_threads_are_an_error(self):
        def leave_room_for_a_few():
            gib = 1 << 30
            resource.setrlimit(resource.RLIMIT_STACK, (2 * gib, resource.getrlimit(resource.RLIMIT_STACK)[1]))  # of each thread
            resource.setrlimit(resource.RLIMIT_AS, (16 * gib, 16 * gib))

        def start(*words):
            return subprocess.run([command, *words], capture_output=True, text=True, timeout=60, check=False,
                                  preexec_fn=leave_room_for_a_few)

        if start("--version").returncode != 0:
            self.skipTest("no room for the program itself")  # as with a sanitizer

        process = start("preflight", "--threads", "32")

        self.assertEqual(process.returncode, 1, process.stderr)
        self.assertRegex(process.stderr, r"only [1-9]\d* of 32 threads can be started \(.*\); give fewer with --threads")

    def test_every_rank_measures_and_reads(self):
        report = self.report("preflight", self.data, "--json", "--threads", 1, ranks=2)
        self.assertEqual([rank["rank"] for rank in report["ranks"]], [0, 1])
        for rank in report["ranks"]:
            self.assertEqual(rank["threads"], 1)
            for figure in ("gemm_flops_per_second", "copy_bytes_per_second", "read_bytes_per_second"):
                self.assertGreater(rank[figure], 0, figure)
        self.assertEqual([each["bytes"] for each in report["allreduce"]], [8, 65536, 8388608])
        if len(self.processors) > 1:
            self.assertEqual(self.amiss(report, "binding"), [])

    def test_data_of_a_fit_are_read_as_it_would(self):
        report = self.report("preflight", "--json", "--", *self.fit, "--threads", 1, ranks=2)
        for rank in report["ranks"]:
            self.assertEqual(rank["threads"], 1)
            self.assertGreater(rank["read_bytes_per_second"], 0)

    def test_a_rank_reads_its_own_part_of_a_partition_alone(self):
        folder = self.path("")
        self.succeed("partition", "-n", 2, "--out", folder, "--", *self.fit)
        index = os.path.join(folder, "data.h5:/x")
        self.assertGreater(self.report("preflight", "--json", index, ranks=2)["ranks"][1]["read_bytes_per_second"], 0)
        os.remove(os.path.join(folder, "rank-0001.h5"))
        self.refuse("preflight", index, ranks=2, says=("rank 1", "rank-0001.h5 does not exist"))

    def test_two_ranks_on_one_core_are_named(self):
        if len(self.processors) < 2:
            self.skipTest("needs two processors")
        one = str(self.processors[0])
        with mock.patch.dict(os.environ, TALLY_BINDING=f"{one};{one}"):
            report = self.report("preflight", "--json", ranks=2)
        binding = self.amiss(report, "binding")
        self.assertEqual([rank["processors"] for rank in report["ranks"]], [one, one])
        self.assertEqual(len(binding), 1)
        self.assertEqual(binding[0]["ranks"], [0, 1])
        self.assertIn("run 2 threads on", binding[0]["words"])

    def test_more_threads_than_processors_are_named(self):
        process = run("preflight", "--threads", len(self.processors) + 1)
        self.assertEqual(process.returncode, 1, process.stderr)
        self.assertIn("binding: rank 0 on ", process.stdout)
        self.assertIn(f"runs {len(self.processors) + 1} threads on", process.stdout)

    def test_launch_runs_it_in_place_of_the_job(self):
        process = run("launch", "--preflight", "-n", 1, "--", *self.fit, "--threads", 1)
        self.assertEqual(process.returncode, 0, process.stdout + process.stderr)
        self.assertRegex(process.stdout, r"(?m)^ +0 +\S+ +\S+ +1 +- +[\d.]+ +[\d.]+ +[\d.]+$")
        line = self.succeed("launch", "--preflight", "--dry-run", "-n", 2, "--", "predict", "model.h5", self.data, "--device",
                            "auto", "--out", "labels.h5").stdout.splitlines()[-1]
        self.assertTrue(line.endswith(f"preflight {self.data} --device auto"), line)
        line = self.succeed("launch", "--preflight", "--dry-run", "-n", 2, "--", "--timeout", 20, *self.fit).stdout.splitlines()[-1]
        self.assertTrue(line.endswith(f"--timeout 20 preflight -- fit gmm {self.data} -k 3"), line)

    def test_a_finding_is_no_reason_for_a_restart(self):
        process = run("launch", "--preflight", "-n", 1, "--max-restarts", 2, "--", *self.fit, "--checkpoint", self.path(""),
                      "--threads", len(self.processors) + 1)
        self.assertEqual(process.returncode, 1, process.stderr)
        self.assertNotIn("restart", process.stderr)

    def test_refusals(self):
        self.refuse("preflight", self.data, "--", *self.fit, status=usage_status, says="name none besides")
        self.refuse("preflight", "--threads", 0, status=usage_status, says="--threads")
        self.refuse("preflight", "--", "score", "m.h5", self.data, status=usage_status, says="after --")
        self.refuse("preflight", "none.h5:/x", says="none.h5 does not exist")


if __name__ == "__main__":
    unittest.main()
