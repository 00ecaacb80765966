"""Fits on a device, by a backend that is loaded at run time: the tests' own, whose device is the host."""

import json
import os
import subprocess
import time
import unittest
import unittest.mock

import h5py
import numpy as np

import bits_test
import hmm_bits_test
from tally_cli import command, option_words, run, usage_status

device_status, communication_status = 4, 5


class FitsOnADevice(bits_test.ManyWays):
    def setUp(self):
        super().setUp()
        bits_test.make_data(self.data, 19 * bits_test.block_rows + 77)

    def on_device(self, model, *place, **options):
        return self.fit_file(model, *place, device="generic", **options)

    def check_model(self, model):
        ways = ((4, 2, "streamed"), (2, 2, "streamed"), (3, 1, "in memory"))
        for options, ways_of_options in (({}, ways), ({"precision": "single", "n_init": 2}, ways[:1]),
                                         ({"precision": "tf32"}, ways[:1])):
            expected = self.on_device(model, **options)
            for ranks, threads, rows in ways_of_options:
                with self.subTest(options=options, ranks=ranks, threads=threads, rows=rows):
                    self.assert_same(self.on_device(model, ranks, threads, rows, **options), expected)
            self.assert_near(expected, self.fit_file(model, **options),
                             {"double": 1e-9, "single": 2e-3, "tf32": 5e-2}[options.get("precision", "double")])

    def assert_near(self, actual, expected, tolerance):
        with h5py.File(actual, "r") as file, h5py.File(expected, "r") as other:
            for name in file["parameters"]:
                size = np.abs(other["parameters"][name][()]).max()
                np.testing.assert_allclose(file["parameters"][name][()], other["parameters"][name][()],
                                           rtol=0, atol=tolerance * size, err_msg=name)
            np.testing.assert_allclose(file["training/objective"][()], other["training/objective"][()], rtol=tolerance)


class OnADevice(FitsOnADevice):
    def test_the_bits_are_the_same_and_near_the_cpus(self):
        for model in ("gmm full", "kmeans", "categorical"):  # one of each kind of kernel; every_model_test.py takes all
            with self.subTest(model=model):
                self.check_model(model)

    def test_a_fit_moves_between_devices(self):
        uninterrupted = self.fit_file("gmm full")
        for first, then in (("cpu", "generic"), ("generic", "cpu")):
            with self.subTest(first=first, then=then):
                folder = self.path("")
                self.fit_file("gmm full", 2, checkpoint=folder, every=1, max_iter=2, device=first)
                resumed = self.fit_file("gmm full", 3, checkpoint=folder, resume=True, device=then)
                self.assert_near(resumed, uninterrupted, 1e-9)

    def test_tf32_on_the_cpu_is_single(self):
        for model in ("gmm full", "kmeans"):
            tf32, single = (bits_test.contents(self.fit_file(model, precision=each)) for each in ("tf32", "single"))
            self.assertEqual([name for name in single if tf32[name] != single[name]], ["training@precision"])

    def test_the_centres_of_tf32_are_those_of_single(self):
        with h5py.File(self.on_device("kmeans", precision="tf32"), "r") as tf32:
            with h5py.File(self.on_device("kmeans", precision="single"), "r") as single:
                self.assertEqual(tf32["training"].attrs["precision"], "tf32")
                np.testing.assert_array_equal(tf32["parameters/centers"][()], single["parameters/centers"][()])
                np.testing.assert_allclose(tf32["training/objective"][()], single["training/objective"][()], rtol=1e-13)

    def test_single_and_tf32_go_on_from_one_another(self):
        uninterrupted = self.fit_file("kmeans", precision="single")
        for first, then in ((("single", "cpu"), ("tf32", "generic")), (("tf32", "generic"), ("single", "cpu")),
                            (("tf32", "cpu"), ("tf32", "generic"))):
            with self.subTest(first=first, then=then):
                folder = self.path("")
                self.fit_file("kmeans", 2, checkpoint=folder, every=1, max_iter=2, precision=first[0], device=first[1])
                resumed = self.fit_file("kmeans", 3, checkpoint=folder, resume=True, precision=then[0], device=then[1])
                self.assert_near(resumed, uninterrupted, 1e-9)

    def test_a_start_from_labels(self):
        random = np.random.default_rng(3)
        with h5py.File(self.data, "a") as file:
            file["labels"] = random.integers(0, bits_test.components, len(file["x"]))
        options = {"init": f"labels:{self.data}:/labels", "weights": f"{self.data}:/weights"}
        for model in ("gmm full", "kmeans"):
            expected = self.on_device(model, **options)
            self.assert_same(self.on_device(model, 3, 2, "streamed", **options), expected)
            self.assert_near(expected, self.fit_file(model, **options), 1e-9)

    def test_results_of_rows(self):
        for model in ("gmm diag", "kmeans"):
            fitted = self.fit_file(model)
            results = {}
            for device in ("cpu", "generic"):
                out = self.path()
                done = run("predict", fitted, self.data + ":/x", "--out", out, "--device", device, ranks=2)
                self.assertEqual(done.returncode, 0, done.stderr)
                with h5py.File(out, "r") as file:
                    results[device] = file["labels"][()]
                done = run("score", fitted, self.data + ":/x", "--json", "--device", device, ranks=3)
                self.assertEqual(done.returncode, 0, done.stderr)
                results[device + " score"] = json.loads(done.stdout)
            np.testing.assert_array_equal(results["generic"], results["cpu"])
            for name, value in results["cpu score"].items():
                if isinstance(value, float):
                    self.assertAlmostEqual(results["generic score"][name] / value, 1, places=9, msg=name)

    def kept_and_sent(self, **options):
        """A fit's file, how many blocks the device kept, and how many it was sent and did not keep."""
        log, out = self.path(".log"), self.path()
        with unittest.mock.patch.dict(os.environ, TALLY_GENERIC_ROWS=log):
            done = run("fit", "gmm", self.data + ":/x", *option_words({
                "components": 3, "covariance": "diag", "device": "generic", "tol": 0, "init": "random-from-data",
                "max_iter": bits_test.iterations, "threads": 2, "out": out, **options}))
        self.assertEqual(done.returncode, 0, done.stderr)
        with open(log, encoding="utf-8") as file:
            kept, sent = map(int, file.read().split())
        return out, kept, sent

    def test_a_device_may_keep_a_part_of_the_rows(self):
        expected, blocks, sent = self.kept_and_sent()
        self.assertEqual(sent, 0)
        all_rows = 19 * bits_test.block_rows * 3 * 8
        kept_before = 0
        for memory in (all_rows // 5, all_rows // 2, all_rows * 9 // 10):
            with self.subTest(memory=memory):
                fitted, kept, sent = self.kept_and_sent(memory=memory)
                self.assert_same(fitted, expected)
                self.assertTrue(kept_before < kept < blocks, (kept_before, kept, blocks))
                self.assertEqual(sent, (blocks - kept) * (bits_test.iterations + 1))
                kept_before = kept


class ChainsOnADevice(hmm_bits_test.HmmBits):
    """Hidden Markov models whose sequences are cut, and not."""

    long_steps, short_sequences, longest = 9000, 100, 17000
    streaming_memory = "20K"
    near = {"double": 1e-9, "single": 2e-3, "tf32": 5e-2}

    def on_device(self, *which, **options):
        return self.fit_way(*which, device="generic", **options)

    def assert_near(self, actual, expected, precision="double"):
        OnADevice.assert_near(self, actual, expected, self.near[precision])

    def check(self, shape, emission, states, **options):
        expected = self.on_device(shape, emission, states, **options)
        for ranks, threads, rows in ((1, 2, "streamed"), (2, 1, "in memory"), (3, 2, "streamed"), (4, 1, "in memory")):
            with self.subTest(ranks=ranks, threads=threads, rows=rows):
                self.assert_same(self.on_device(shape, emission, states, ranks=ranks, threads=threads, rows=rows, **options),
                                 expected)
        self.assert_near(expected, self.fit_way(shape, emission, states, **options), options.get("precision", "double"))

    def test_the_bits_are_the_same_and_near_the_cpus(self):
        for shape, emission, states, options in (("long", "gaussian", 4, {"covariance": "full"}), ("long", "gaussian", 20, {}),
                                                 ("ragged", "categorical", 4, {"n_init": 2}),
                                                 ("ragged", "gaussian", 2, {"mixtures": 2, "precision": "single"}),
                                                 ("long", "gaussian", 3, {"covariance": "tied", "precision": "tf32"})):
            with self.subTest(shape=shape, emission=emission, states=states, **options):
                self.check(shape, emission, states, **options)

    def test_with_more_states_than_a_warp_has_threads(self):
        self.long_steps = 600
        hmm_bits_test.HmmBits.setUp(self)
        expected = self.on_device("long", "gaussian", 40)

        self.assert_same(self.on_device("long", "gaussian", 40, ranks=2, threads=2), expected)
        self.assert_near(expected, self.fit_way("long", "gaussian", 40))

    def test_rows_that_are_missing_and_states_that_are_known(self):
        random = np.random.default_rng(8)
        with h5py.File(self.data, "r+") as file:
            for shape in ("long", "ragged"):
                rows = len(file[shape]["x"])
                file[shape]["x"][...] = np.where(random.uniform(size=(rows, 1)) < 0.1, np.nan, file[shape]["x"][()])
                file[shape]["known"] = np.where(random.uniform(size=rows) < 0.1, random.integers(0, 4, rows), -1)
        for shape in ("long", "ragged"):
            with self.subTest(shape=shape):
                self.check(shape, "gaussian", 4, labels=self.place(shape, "known"))

    def test_a_label_that_is_no_state_is_refused(self):
        with h5py.File(self.data, "r+") as file:
            file["long/known"] = np.where(np.arange(self.long_steps) == 77, 4, -1)
        self.refuse("fit", "hmm", self.place("long", "x"), "--states", 4, "--labels", self.place("long", "known"), "--device",
                    "generic", "--out", self.path(), ranks=2, says="the label of row 77 is 4")

    def test_transitions_that_cannot_be_stay_zero(self):
        with h5py.File(self.data, "r+") as file:  # short sequences, as longer ones that are not of this kind are for the CPU
            rows = len(file["ragged/x"])
            del file["ragged/lengths"]
            file["ragged/lengths"] = [100] * (rows // 100) + [rows % 100]
        fitted = self.on_device("ragged", "gaussian", 4, topology="left-right", startprob_prior=1.0)
        with h5py.File(fitted, "r") as file:
            np.testing.assert_array_equal(np.tril(file["parameters/transmat"][()], -1), 0)
        self.assert_near(fitted, self.fit_way("ragged", "gaussian", 4, topology="left-right", startprob_prior=1.0))

    def test_probabilities_too_far_apart_are_for_the_cpu(self):
        # 20 nats a step for the first of two states that are never left, in the end more for the other.
        x = np.where(np.arange(160) < 70, 0.0, 6.5)
        data = self.write(x=x) + ":/x"
        start = self.start(startprob=[0.5, 0.5], transmat=np.eye(2), means=[[0.0], [6.5]], covariances=np.ones((2, 1)))
        words = ["fit", "hmm", data, "--states", 2, "--emission", "gaussian", "--init", start, "--max-iter", 1, "--quiet"]
        for ranks in (1, 2):
            self.refuse(*words, "--device", "generic", "--out", os.path.join(self.folder, "unwritten.h5"), ranks=ranks,
                        says=["or numbers leave their range", "--device cpu"])
        fitted = self.path()
        self.succeed(*words, "--out", fitted)
        with h5py.File(fitted, "r") as file:
            np.testing.assert_allclose(file["parameters/startprob"][()], [0, 1], atol=1e-12)

    def test_labels_that_a_fit_starts_from_count_as_transitions(self):
        random = np.random.default_rng(4)
        with h5py.File(self.data, "r+") as file:
            for shape in ("long", "ragged"):
                file[shape]["labels"] = random.integers(0, 3, len(file[shape]["x"]))
        for shape in ("long", "ragged"):
            with self.subTest(shape=shape):
                self.check(shape, "gaussian", 3, init="labels:" + self.place(shape, "labels"), count_transitions=True)

    def test_a_fit_moves_between_devices(self):
        uninterrupted = self.fit_way("long", "gaussian", 4)
        for first, then in (("cpu", "generic"), ("generic", "cpu")):
            with self.subTest(first=first, then=then):
                folder = self.path("")
                self.fit_way("long", "gaussian", 4, 2, checkpoint=folder, every=1, max_iter=1, device=first)
                resumed = self.fit_way("long", "gaussian", 4, 3, checkpoint=folder, resume=True, device=then)
                self.assert_near(resumed, uninterrupted)

    def test_an_impossible_step_is_named(self):
        start = {"startprob": [1.0, 0.0], "transmat": [[0.5, 0.5], [0.5, 0.5]],
                 "probabilities": [[[0.5, 0.5, 0.0]], [[0.5, 0.5, 0.0]]]}
        symbols = np.zeros((3000, 1))
        symbols[2222] = 2
        data = self.write(x=symbols, lengths=[1000, 2000])
        for ranks in (1, 2):
            self.refuse("fit", "hmm", data + ":/x", "--lengths", data + ":/lengths", "--states", 2, "--emission", "categorical",
                        "--symbols", 3, "--init", self.start(**start), "--device", "generic", "--out", self.path(), ranks=ranks,
                        says="step 1222 of sequence 1")
        possible = np.zeros((3000, 1))
        clean = self.write(x=possible)
        fitted = self.path()
        self.succeed("fit", "hmm", clean + ":/x", "--states", 2, "--emission", "categorical", "--symbols", 3, "--init",
                     self.start(**start), "--max-iter", 0, "--out", fitted)
        self.refuse("predict", fitted, data + ":/x", "--lengths", data + ":/lengths", "--device", "generic", "--out",
                    self.path(), says="step 1222 of sequence 1")

    def test_results_of_rows(self):
        for shape in ("long", "ragged"):
            fitted = self.fit_way(shape, "gaussian", 4)
            where = [self.place(shape, "x"), "--lengths", self.place(shape, "lengths"), "--threads", 2]
            for words, name in ((["predict"], "labels"), (["predict", "--proba"], "responsibilities"),
                                (["predict", "--proba", "--filter"], "responsibilities"), (["decode"], "states"),
                                (["decode", "--method", "map"], "states"), (["forecast", "--steps", 3], "states")):
                with self.subTest(shape=shape, words=words):
                    out = {}
                    for device, ranks in (("cpu", 1), ("generic", 1), ("generic", 3)):
                        file = self.path()
                        self.succeed(words[0], fitted, *where, *words[1:], "--device", device, "--out", file, ranks=ranks)
                        out[device, ranks] = self.read(file, name)[name]
                    np.testing.assert_array_equal(out["generic", 3], out["generic", 1])
                    np.testing.assert_allclose(out["generic", 1], out["cpu", 1], rtol=0, atol=1e-9)
            scores = [json.loads(self.succeed("score", fitted, *where, "--json", "--device", device, ranks=2).stdout)
                      for device in ("cpu", "generic")]
            self.assertEqual(scores[0].keys(), scores[1].keys())
            for name, value in scores[0].items():
                if isinstance(value, float):
                    self.assertAlmostEqual(scores[1][name] / value, 1, places=9, msg=name)


    def test_paths_are_the_cpus_whatever_the_device_takes(self):
        states = 1025  # one more than a device takes
        start = self.start(startprob=np.full(states, 1 / states), transmat=np.full((states, states), 1 / states),
                           rates=np.arange(1.0, states + 1)[:, None])
        data, fitted, out = self.write_data([3, 700, 1025]), self.path(), self.path()
        self.succeed("fit", "hmm", data, "--states", states, "--emission", "poisson", "--init", start, "--max-iter", 0,
                     "--threads", 1, "--out", fitted)

        self.succeed("decode", fitted, data, "--device", "generic", "--threads", 1, "--out", out, ranks=2)

        np.testing.assert_array_equal(self.read(out, "states")["states"], [2, 699, 1024])
        self.refuse("decode", fitted, data, "--method", "map", "--device", "generic", "--out", self.folder + "/unwritten.h5",
                    status=usage_status, says="at most 1024 states")

    def test_paths_are_refused_on_what_is_no_device(self):
        fitted, out = self.fit_way("ragged", "gaussian", 2), self.folder + "/unwritten.h5"
        for device, status, says in (("nonsense", device_status, "libtally_nonsense.so"), ("a.b", usage_status, "a.b")):
            for ranks in (1, 2):
                self.refuse("decode", fitted, self.place("ragged", "x"), "--lengths", self.place("ragged", "lengths"),
                            "--device", device, "--out", out, status=status, says=says, ranks=ranks)


class SummingOnDevices(bits_test.ManyWays):
    """With the sums over ranks on the devices, by the fake means of the tests' backend."""

    def setUp(self):
        super().setUp()
        bits_test.make_data(self.data, 19 * bits_test.block_rows + 77)
        self.log = self.path(".log")
        self.addCleanup(os.environ.pop, "TALLY_GENERIC_SUM", None)
        self.addCleanup(os.environ.pop, "TALLY_GENERIC_LOG", None)
        self.addCleanup(os.environ.pop, "TALLY_GENERIC_FAIL", None)

    def summing(self, manner):
        if manner is None:
            os.environ.pop("TALLY_GENERIC_SUM", None)
        else:
            os.environ["TALLY_GENERIC_SUM"] = manner
        os.environ["TALLY_GENERIC_LOG"] = self.log

    def test_gives_the_bits_of_a_sum_by_mpi_with_one_sum_an_iteration(self):
        for model, options in (("gmm full", {}), ("kmeans", {"n_init": 3}), ("poisson", {"precision": "single"})):
            with self.subTest(model=model):
                os.environ.pop("TALLY_GENERIC_SUM", None)
                expected = self.fit_file(model, 2, device="generic", **options)
                for manner, ranks in (("on", 2), ("slow", 3)):
                    self.summing(manner)
                    open(self.log, "w", encoding="utf-8").close()
                    self.assert_same(self.fit_file(model, ranks, 2, device="generic", **options), expected)
                    with open(self.log, encoding="utf-8") as file:
                        self.assertEqual(file.read().split(), [str(bits_test.iterations + 1)] * ranks)

    def ends(self, manner, ranks, says, status, *words):
        self.summing(manner)
        out = self.path()
        start = time.monotonic()
        done = run("fit", "kmeans", self.data + ":/x", "-k", "3", "--device", "generic", "--tol", "0", "--max-iter", "9",
                   "--init", "random-from-data", "--out", out, *words, ranks=ranks)
        self.assertLess(time.monotonic() - start, 60)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(done.stderr.count("tally: error:"), 1, done.stderr)
        self.assertIn(says, done.stderr)
        if os.path.exists(out):  # what mpirun's SIGTERM made rank 0 save, where it came first
            with h5py.File(out, "r") as file:
                self.assertEqual(file["training"].attrs["status"], "unfinished")

    def test_a_device_that_breaks_ends_all_ranks_with_its_message(self):
        self.ends("fail:1", 2, "fallen off the bus", device_status)
        self.ends("fail:0", 3, "fallen off the bus", device_status)

    def test_a_device_that_breaks_elsewhere_does_too(self):
        for where in ("open", "prepare", "read"):
            for manner in (None, "on"):
                with self.subTest(where=where, manner=manner):
                    os.environ["TALLY_GENERIC_FAIL"] = where + ":1"
                    self.ends(manner, 2, "the device breaks in " + where, device_status)

    def test_a_rank_that_still_computes_does_not_claim_the_error(self):
        os.environ["TALLY_GENERIC_FAIL"] = "slow:0"
        self.ends("fail:1", 2, "tally: error: rank 1 on", device_status)

    def test_a_sum_that_never_ends_ends_at_the_deadline(self):
        self.ends("stuck:1", 2, "the sum on the devices", communication_status, "--timeout", "2")


class ChoosingADevice(bits_test.ManyWays):
    def setUp(self):
        super().setUp()
        bits_test.make_data(self.data, 5000)

    def try_fit(self, device, ranks=1):
        out = self.path()
        done = run("fit", "kmeans", self.data + ":/x", "-k", "3", "--device", device, "--out", out, ranks=ranks)
        return done, out

    def test_one_that_cannot_be_had_is_refused_once(self):
        for device, says in (("absent", "there is no backend 'absent'"), ("other_version", "version 6 of the interface")):
            for ranks in (1, 3):
                with self.subTest(device=device, ranks=ranks):
                    done, out = self.try_fit(device, ranks)
                    self.assertEqual(done.returncode, device_status, done.stderr)
                    self.assertEqual(done.stderr.count("tally: error:"), 1, done.stderr)
                    self.assertIn(says, done.stderr)
                    self.assertFalse(os.path.exists(out))

    def test_what_is_no_name_is_refused(self):
        for device in ("", "../generic", "/lib/x"):
            done, out = self.try_fit(device, 2)
            self.assertEqual(done.returncode, usage_status, done.stderr)
            self.assertEqual(done.stderr.count("tally: error: --device takes"), 1, done.stderr)
            self.assertFalse(os.path.exists(out))

    def test_ranks_of_a_host_take_one_each_and_say_when_they_share(self):
        done, _ = self.try_fit("generic", 2)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("running on generic 0: host memory\n", done.stderr)
        done, _ = self.try_fit("generic", 4)
        self.assertIn("ranks share devices", done.stderr)

    @unittest.skipIf(os.path.exists("/dev/nvidiactl"), "there is a GPU here")
    def test_without_a_gpu(self):
        for ranks in (1, 2):
            done, out = self.try_fit("cuda", ranks)
            self.assertEqual(done.returncode, device_status, done.stderr)
            self.assertIn("no usable GPU", done.stderr)
            done, out = self.try_fit("auto", ranks)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stderr.count("running on the CPU"), 1, done.stderr)
            self.assertTrue(os.path.exists(out))

    def test_the_command_knows_nothing_of_cuda(self):
        needed = subprocess.run(["readelf", "--dynamic", "--wide", command], capture_output=True, text=True, check=True)
        symbols = subprocess.run(["nm", "--dynamic", command], capture_output=True, text=True, check=True).stdout
        self.assertIn("NEEDED", needed.stdout)
        for word in ("libcuda", "libcublas", "libnccl"):
            self.assertNotIn(word, needed.stdout)
        self.assertIn("main", symbols)
        for start in (" cuda", " cu", " cublas", " nccl"):
            self.assertEqual([line for line in symbols.splitlines() if (" U" + start) in line and "curl" not in line], [])

    def test_the_list(self):
        listed = json.loads(run("devices", "--backend", "generic", "--json").stdout)["backends"][0]
        self.assertEqual([device["identity"] for device in listed["devices"]], ["generic:0", "generic:1", "generic:2"])
        self.assertEqual(listed["devices"][0]["peers"], [1, 2])
        self.assertIn("generic 1: host memory", run("devices", "--backend", "generic").stdout)
        self.assertIn("not usable", run("devices", "--backend", "other_version").stdout)


if __name__ == "__main__":
    unittest.main()
