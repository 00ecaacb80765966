"""`tally check-device` on the tests' own backend, whose device is the host: right, absent, and wrong in small ways."""

import json
import os
import unittest

from tally_cli import TallyTest, run, usage_status

device_status, communication_status = 4, 5
models = ["gmm full", "gmm tied", "gmm diag", "gmm spherical", "kmeans", "poisson", "bernoulli", "categorical", "exponential",
          "gamma", "binomial", "multinomial", "von-mises-fisher",
          "student-t full", "student-t diag", "student-t spherical",
          "hmm gaussian full", "hmm gaussian tied", "hmm gaussian diag", "hmm gaussian spherical", "hmm poisson",
          "hmm bernoulli", "hmm categorical", "hmm exponential",
          "hmm gamma", "hmm binomial", "hmm multinomial", "hmm von-mises-fisher",
          "hmm student-t full", "hmm student-t diag", "hmm student-t spherical"]
from_the_cpu = ["first M-step", "parameters", "trace", "objectives", "responsibilities", "labels"]
same_bits = ["lanes", "streamed", "candidates"]
precisions = ("double", "single", "tf32")


def names_in(models, precision):
    """These models as they are checked in a precision: mixtures that take missing values with these, too, in double."""
    taking = [name for name in models if name.split()[0] in ("gmm", "poisson", "bernoulli") and precision == "double"]
    return [each for name in models for each in ([name, name + " nan"] if name in taking else [name])]


class CheckDevice(TallyTest):
    def with_environment(self, **variables):
        for name, value in variables.items():
            os.environ[name] = value
            self.addCleanup(os.environ.pop, name, None)

    def setUp(self):
        super().setUp()
        self.with_environment(TALLY_GENERIC_BLOCKS="1")  # the checked rows are a few blocks: fewer take less time

    def verdicts(self, status, *words, ranks=1):
        done = run("check-device", "--device", "generic", "--json", *words, ranks=ranks, timeout=600)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(done.stderr.count("tally: error:"), 0 if status == 0 else 1, done.stderr)
        return json.loads(done.stdout), done.stderr

    def assert_table(self, models, *words, precisions=precisions):
        """Of two ranks that sum on the devices."""
        log = self.path(".log")
        self.with_environment(TALLY_GENERIC_SUM="on", TALLY_GENERIC_LOG=log)
        done = run("check-device", "--device", "generic", *words, ranks=2, timeout=600)
        self.assertEqual(done.returncode, 0, done.stderr)
        for precision in precisions:
            for name in names_in(models, precision):
                self.assertRegex(done.stdout, rf"(?m)^{name} +{precision}  passed, worst on rank [01] ")
        self.assertIn("rank 1: generic 1: host memory on ", done.stdout)
        checked = sum(len(names_in(models, precision)) for precision in precisions)
        self.assertIn(f"all {10 * checked} checks passed\n", done.stdout)
        with open(log, encoding="utf-8") as file:
            sums = file.read().split()
        self.assertEqual(len(sums), 2)
        self.assertEqual(sums[0], sums[1])
        self.assertGreater(int(sums[0]), 5 * len(precisions) * len(models))


class ARightDevice(CheckDevice):
    def assert_all_passed(self, verdict, ranks, models, precisions=precisions):
        self.assertTrue(verdict["passed"])
        self.assertEqual(len(verdict["devices"]), ranks)
        chosen = [[model["model"]] + [model["options"].get(option) for option in ("emission", "covariance", "missing")]
                  for model in verdict["models"]]
        expected = [(name, precision) for precision in precisions for name in names_in(models, precision)]
        self.assertEqual([(" ".join(filter(None, words)), model["precision"]) for words, model in zip(chosen, verdict["models"])],
                         expected)
        for model in verdict["models"]:
            self.assertTrue(model["passed"])
            self.assertEqual([check["check"] for check in model["checks"]],
                             from_the_cpu + same_bits + (["ranks"] if ranks > 1 else []))
            for check in model["checks"]:
                self.assertLessEqual(check["measured"], check["tolerance"])
                self.assertEqual(check["tolerance"] == 0, check["check"] not in from_the_cpu)

    def named(self, word):
        return [name for name in models if name.split()[0] == word]

    def test_passes_alone_also_in_blocks_larger_than_the_cpus(self):
        self.with_environment(TALLY_GENERIC_BLOCKS="2")
        # Kinds of kernels; gmm's shapes and other precisions are every_model_test's; blocks of sequences are the CPU's.
        for word, precision in (("poisson", "double"), ("kmeans", "single"), ("categorical", "tf32")):
            verdict, _ = self.verdicts(0, "--model", word, "--precision", precision)
            self.assert_all_passed(verdict, 1, self.named(word), (precision,))

    def test_one_emission_alone(self):
        verdict, _ = self.verdicts(0, "--model", "hmm categorical", "--precision", "double")
        self.assertEqual([(model["model"], model["options"]["emission"], model["precision"]) for model in verdict["models"]],
                         [("hmm", "categorical", "double")])
        for words in ("hmm nothing", "gmm full"):
            self.refuse("check-device", "--device", "generic", "--model", words, status=usage_status, says="has no emission")
        self.refuse("check-device", "--device", "generic", "--precision", "half", status=usage_status, says="no precision 'half'")

    def test_passes_on_several_ranks_that_sum_by_mpi(self):
        verdict, _ = self.verdicts(0, "--model", "poisson", "--precision", "double", ranks=2)
        self.assert_all_passed(verdict, 2, self.named("poisson"), ("double",))

    def test_the_table_names_models_and_ranks_that_sum_on_the_devices(self):
        self.assert_table(["bernoulli"], "--model", "bernoulli")
        self.assert_table(["hmm poisson"], "--model", "hmm poisson", "--precision", "double", precisions=("double",))


class AWrongDevice(CheckDevice):
    def failing(self, fault, model, *words, ranks=1):
        """(precision, checks that fail) of each way of the model, the ranks whose differences fail, and the message."""
        self.with_environment(TALLY_GENERIC_FAULT=fault)
        verdict, error = self.verdicts(device_status, "--model", model, *words, ranks=ranks)
        self.assertFalse(verdict["passed"])
        failing, of_ranks = [], set()
        for checked in verdict["models"]:
            self.assertEqual(checked["model"], model.split()[0])
            failed = [check for check in checked["checks"] if not check["passed"]]
            self.assertEqual(checked["passed"], not failed)
            failing.append((checked["precision"], {check["check"] for check in failed}))
            of_ranks |= {check["rank"] for check in failed if check["tolerance"] > 0}
        return failing, of_ranks, error

    def test_bits_that_depend_on_lanes_rows_or_candidates_fail_that_check_alone(self):
        for fault, model in (("lanes", "bernoulli"), ("streamed", "poisson"), ("candidates", "poisson")):
            with self.subTest(fault=fault):
                failing, _, error = self.failing(fault, model, "--precision", "double")
                for _, checks in failing:
                    self.assertEqual(checks, {fault})
                self.assertIn(f"first {model}, double: {fault} change", error)

    def test_a_statistic_that_is_off_fails_in_double_precision_on_its_rank(self):
        failing, of_ranks, error = self.failing("statistic:1", "bernoulli", ranks=2)
        self.assertEqual(of_ranks, {1})
        for precision, checks in failing:
            self.assertFalse(checks & set(same_bits))
            self.assertEqual("first M-step" in checks, precision == "double")
            self.assertIn("ranks", checks)
        self.assertIn("first bernoulli, double: first M-step differ by ", error)
        self.assertIn("on rank 1 (generic 1: host memory on ", error)

    def test_messages_of_a_cut_sequence_that_are_off_are_found(self):
        failing, _, error = self.failing("messages", "hmm exponential", "--precision", "double")
        for _, checks in failing:
            self.assertEqual(checks & {"first M-step", *same_bits}, {"candidates"})  # the first of several is off
            self.assertLessEqual({"parameters", "trace", "objectives", "responsibilities"}, checks)
        self.assertIn("first hmm exponential, double: parameters differ by ", error)

    def test_a_label_that_is_off_is_found(self):
        self.with_environment(TALLY_GENERIC_BLOCKS="2")  # rows enough that one label is nothing in single precision
        failing, _, _ = self.failing("label", "kmeans")
        self.assertEqual(failing, [("double", {"labels"}), ("single", set()), ("tf32", set())])


class ADeviceThatIsNotUsable(CheckDevice):
    def test_is_refused_once(self):
        for device, says in (("absent", "there is no backend 'absent'"), ("other_version", "of the interface")):
            for ranks in (1, 2):
                with self.subTest(device=device, ranks=ranks):
                    self.refuse("check-device", "--device", device, status=device_status, says=says, ranks=ranks)

    def test_the_cpu_is_no_device_to_check(self):
        self.refuse("check-device", "--device", "cpu", status=2, says="names no backend")

    @unittest.skipIf(os.path.exists("/dev/nvidiactl"), "there is a GPU here")
    def test_without_a_gpu(self):
        self.refuse("check-device", status=device_status, says="no usable GPU")

    def test_one_that_breaks_ends_all_ranks_with_its_message(self):
        for manner, status, says in (("fail:1", device_status, "fallen off the bus"),
                                     ("stuck:0", communication_status, "the sum on the devices")):
            with self.subTest(manner=manner):
                self.with_environment(TALLY_GENERIC_SUM=manner)
                done = run("check-device", "--device", "generic", "--timeout", "3", ranks=2, grace=True)
                self.assertEqual(done.returncode, status, done.stderr)
                self.assertEqual(done.stderr.count("tally: error:"), 1, done.stderr)
                self.assertIn(says, done.stderr)


if __name__ == "__main__":
    unittest.main()
