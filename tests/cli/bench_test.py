"""tally bench: what it prints and writes, on sizes that measure nothing."""

import json
import unittest

from tally_cli import TallyTest, data_status, usage_status

tiny = ("--rows", 500, "--columns", 3, "-k", 2, "--iterations", 2, "--repeat", 2, "--threads", 1, "--quiet")
models = ("gmm full", "gmm tied", "gmm diag", "gmm spherical", "kmeans", "poisson", "categorical", "bernoulli",
          "exponential", "gamma", "binomial", "multinomial", "von-mises-fisher", "hmm gamma", "hmm binomial", "hmm multinomial",
          "hmm von-mises-fisher", "student-t full", "student-t diag", "hmm student-t", "hmm gaussian", "hmm poisson", "hmm categorical", "hmm bernoulli", "hmm exponential")
quartiles = {"best", "lower_quartile", "median", "upper_quartile", "worst", "samples"}


class Bench(TallyTest):
    def report(self, *words, ranks=1):
        return json.loads(self.succeed("bench", "--quick", *tiny, "--json", *words, ranks=ranks).stdout)

    def check_header(self, report, benchmark):
        self.assertEqual(report["benchmark"], benchmark)
        self.assertRegex(report["date"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
        self.assertRegex(report["commit"], r"^([0-9a-f]{7,}(-changed)?|unknown)$")
        self.assertIn("bench", report["command"])
        self.assertLessEqual({"processor", "processors", "hosts", "blas", "load_average_before", "load_average_after"},
                             set(report["machine"]))

    def test_every_model_is_measured_and_right(self):
        report = self.report()
        self.check_header(report, "tally bench")
        entries = {entry["name"]: entry for entry in report["entries"]}
        for name in models:
            entry = entries[f"{name} 500 x 3, K 2"]
            self.assertEqual(entry["check"], "right", name)
            self.assertEqual(set(entry["seconds"]), quartiles)
            self.assertEqual(set(entry["processor_seconds"]), quartiles)
            self.assertGreaterEqual(entry["seconds"]["samples"], 2)
            self.assertIn(entry["bound"], ("gemm", "memory"))
            for key in ("rows_per_second", "gflops", "fraction_of_gemm", "fraction_of_memory", "fraction_of_bound",
                        "fraction_by_processor_time"):
                self.assertGreater(entry[key], 0, name)
            self.assertEqual(entry["fraction_of_bound"], max(entry["fraction_of_gemm"], entry["fraction_of_memory"]))
        for name, unit in (("gemm double 1024^3", "GF/s"), ("gemm single 1024^3", "GF/s"), ("copy 32 MiB", "GB/s"),
                           ("hdf5 read 32 MiB", "GB/s")):
            self.assertEqual((entries[name]["unit"], entries[name]["check"]), (unit, "right"))
            self.assertGreater(entries[name]["worst_rank_rate"], 0)
            self.assertGreaterEqual(entries[name]["median_rank_rate"], entries[name]["worst_rank_rate"])

    def test_ranks_measure_together(self):
        report = self.report("--only", "re", ranks=2)  # allreduce, read, poisson's names have none
        self.assertEqual(report["ranks"], 2)
        entries = {entry["name"]: entry for entry in report["entries"]}
        self.assertLessEqual({"allreduce 8 B", "allreduce 256 B", "allreduce 8 KiB", "allreduce 256 KiB"}, set(entries))
        for entry in entries.values():
            self.assertEqual(entry["check"], "right", entry)
            self.assertIn(entry["worst_rank"], (0, 1))
        fitted = self.report("--only", "hmm gaussian", ranks=2)["entries"][-1]
        self.assertEqual((fitted["name"], fitted["check"]), ("hmm gaussian 500 x 3, K 2", "right"))

    def test_copies_to_and_from_a_device(self):
        entries = {entry["name"]: entry for entry in self.report("--only", "device", "--device", "generic")["entries"]}
        for name in ("host to device 8 MB", "device to host 8 MB"):
            self.assertEqual((entries[name]["unit"], entries[name]["check"]), ("GB/s", "right"))
            self.assertGreater(entries[name]["worst_rank_rate"], 0)

    def test_a_table_and_a_file(self):
        out = self.path(".json")
        done = self.succeed("bench", "--quick", *tiny, "--only", "kmeans", "--precision", "single", "--out", out)
        self.assertRegex(done.stdout, r"(?m)^gemm single 1024\^3 +\S+ GF/s")
        self.assertRegex(done.stdout, r"(?m)^kmeans 500 x 3, K 2 .* right$")
        with open(out, encoding="utf-8") as file:
            self.assertEqual([entry["kind"] for entry in json.load(file)["entries"]], ["ceiling", "ceiling", "model"])

    def test_refusals(self):
        refuse = lambda *words, says, status=usage_status: self.refuse("bench", *words, status=status, says=says)
        refuse("--quick", "--quiet", "--only", "abacus", says="nothing that is measured has 'abacus' in its name")
        refuse("--rows", 0, says="--rows")
        file = self.path("/report.json")
        refuse("--quick", "--quiet", "--out", file, says=file, status=data_status)


if __name__ == "__main__":
    unittest.main()
