"""The same bits of a hidden Markov model however its sequences are cut: ranks, threads, memory or stream, in one go or
stopped and resumed, with states few enough that the messages of pieces are composed and with more."""

import glob
import json
import os
import signal
import subprocess
import time
import unittest

import h5py
import numpy as np

from bits_test import contents
from hmm_cli import HmmTest
from processes import processes_with, ranks_among
from tally_cli import command, mpirun, option_words

columns, symbols, iterations = 2, 6, 3
states_composed, states_in_order, states_beyond_cache = 4, 24, 72
endless = 10**9  # iterations
patience = 120  # seconds


def ways():
    """Each number of ranks with one or two threads, rows in memory or streamed; all pairs occur."""
    yield from ((1, 2, "in memory"), (1, 1, "streamed"), (2, 1, "in memory"), (2, 2, "streamed"), (3, 1, "streamed"),
                (3, 2, "in memory"), (4, 1, "in memory"), (4, 2, "streamed"))


def ragged_lengths(random, short_sequences, longest):
    """Many short sequences, some of one step, and one that is long, in the middle."""
    short = random.integers(1, 200, short_sequences)
    middle = short_sequences // 2
    return np.concatenate([short[:middle], [longest], short[middle:]])


class HmmBits(HmmTest):
    long_steps, short_sequences, longest = 60000, 400, 30000
    streaming_memory = "100K"  # less than the rows of any rank need

    def setUp(self):
        super().setUp()
        random = np.random.default_rng(30)
        lengths = ragged_lengths(random, self.short_sequences, self.longest)
        self.data = self.path()
        with h5py.File(self.data, "w") as file:
            for name, length in (("long", [self.long_steps]), ("ragged", lengths)):
                rows = sum(length)
                hidden = np.cumsum(random.uniform(size=rows) < 0.05) % 3  # stays for some twenty steps
                file[f"{name}/lengths"] = length
                file[f"{name}/x"] = hidden[:, None] + random.normal(size=(rows, columns))
                file[f"{name}/symbols"] = (2 * hidden + random.integers(0, 2, rows)) % symbols

    def place(self, shape, name):
        return f"{self.data}:/{shape}/{name}"

    def fit_way(self, shape, emission, states, ranks=1, threads=1, rows="in memory", **options):
        """Fits behind mpirun; returns the model file."""
        out = self.path()
        data = self.place(shape, "symbols" if emission == "categorical" else "x")
        options = {"emission": emission, "states": states, "lengths": self.place(shape, "lengths"), "out": out, "tol": 0,
                   "max_iter": iterations, "threads": threads, "seed": 5, **options}
        if rows == "streamed":
            options["memory"] = self.streaming_memory
        line = [mpirun, "-n", str(ranks), command, "fit", "hmm", data, *option_words(options)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=patience, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"rows {rows}", done.stderr)
        return out

    def assert_same(self, actual, expected):
        actual, expected = contents(actual), contents(expected)
        self.assertEqual(actual.keys(), expected.keys())
        self.assertEqual([name for name in expected if actual[name] != expected[name]], [])

    def check(self, shape, emission, states, **options):
        expected = self.fit_way(shape, emission, states, **options)
        for ranks, threads, rows in ways():
            with self.subTest(ranks=ranks, threads=threads, rows=rows):
                self.assert_same(self.fit_way(shape, emission, states, ranks, threads, rows, **options), expected)


class SameFit(HmmBits):
    def test_of_a_long_sequence_whose_messages_are_composed(self):
        self.check("long", "gaussian", states_composed)

    def test_of_a_long_sequence_whose_messages_pass_in_order(self):
        self.check("long", "gaussian", states_in_order)

    def test_of_a_long_sequence_of_symbols(self):
        self.check("long", "categorical", states_composed)

    def test_of_ragged_sequences_with_few_states(self):
        self.check("ragged", "gaussian", states_composed)

    def test_of_ragged_sequences_with_many_states(self):
        self.check("ragged", "categorical", states_in_order)

    def test_of_ragged_sequences_with_states_beyond_the_cache(self):
        self.check("ragged", "gaussian", states_beyond_cache, max_iter=1)

    def test_in_single_precision(self):
        for shape in ("long", "ragged"):
            for states in (states_composed, states_in_order):
                expected = self.fit_way(shape, "gaussian", states, precision="single")
                with self.subTest(shape=shape, states=states):
                    self.assert_same(self.fit_way(shape, "gaussian", states, 3, 2, "streamed", precision="single"), expected)

    def test_of_a_stationary_start(self):
        expected = self.fit_way("ragged", "gaussian", states_composed, startprob="stationary")

        self.assert_same(self.fit_way("ragged", "gaussian", states_composed, 3, 2, startprob="stationary"), expected)

    def test_with_more_ranks_than_sequences(self):
        expected = self.fit_way("long", "gaussian", states_composed)

        self.assert_same(self.fit_way("long", "gaussian", states_composed, 4), expected)


class SameResults(HmmBits):
    def results(self, model, shape, ranks, threads):
        """Bytes of everything that is computed of the data under a fitted model."""
        out = self.path()
        data, lengths = self.place(shape, "x"), ["--lengths", self.place(shape, "lengths"), "--threads", threads]
        self.succeed("decode", model, data, *lengths, "--out", out, ranks=ranks)
        found = {name: array.tobytes() for name, array in self.read(out, "states", "log_probability").items()}
        for name, words in (("labels", []), ("smoothed", ["--proba"]), ("filtered", ["--proba", "--filter"])):
            self.succeed("predict", model, data, *lengths, *words, "--out", f"{out}-{name}:/r", ranks=ranks)
            found[name] = self.read(f"{out}-{name}", "r")["r"].tobytes()
        score = self.succeed("score", model, data, *lengths, "--json", "--per-sequence", f"{out}-score:/r", ranks=ranks)
        found["score"] = json.loads(score.stdout)
        found["score of each"] = self.read(f"{out}-score", "r")["r"].tobytes()
        return found

    def check_results(self, shape, states):
        model = self.fit_way(shape, "gaussian", states)
        expected = self.results(model, shape, 1, 1)
        for ranks, threads in ((1, 2), (2, 1), (3, 2), (4, 1)):
            actual = self.results(model, shape, ranks, threads)
            with self.subTest(ranks=ranks, threads=threads):
                self.assertEqual([name for name in expected if actual[name] != expected[name]], [])

    def test_of_a_long_sequence_whose_messages_are_composed(self):
        self.check_results("long", states_composed)

    def test_of_a_long_sequence_whose_messages_pass_in_order(self):
        self.check_results("long", states_in_order)

    def test_of_ragged_sequences(self):
        self.check_results("ragged", states_composed)
        self.check_results("ragged", states_in_order)

    def test_of_drawn_sequences(self):
        model = self.fit_way("ragged", "gaussian", states_composed)
        rows = self.read(self.data, "ragged/lengths")["ragged/lengths"].sum()
        drawn = []
        for ranks, threads in ((1, 1), (3, 2)):
            drawn.append(self.path())
            self.succeed("sample", model, "--rows", rows, "--lengths", self.place("ragged", "lengths"), "--labels",
                         "--threads", threads, "--out", drawn[-1], ranks=ranks)

        alone, together = (self.read(path, "x", "labels") for path in drawn)

        for name in alone:
            self.assertEqual(alone[name].tobytes(), together[name].tobytes())


class SameAfterAKill(HmmBits):
    more_iterations = 3

    def checkpoints(self, folder):
        return sorted(glob.glob(os.path.join(folder, "checkpoint-*.h5")))

    def wait_for_ranks(self, folder):
        """Ranks live on for a moment where mpirun is killed: until a second brings no checkpoint."""
        before = None
        while before != self.checkpoints(folder):
            before = self.checkpoints(folder)
            time.sleep(1)

    def killed(self, shape, states, ranks, folder, what):
        """A fit that writes checkpoints until one of its ranks or mpirun is killed; returns the M-steps of the newest."""
        words = option_words({"emission": "gaussian", "states": states, "lengths": self.place(shape, "lengths"),
                              "out": self.path(), "tol": 0, "max_iter": endless, "threads": 1, "seed": 5, "every": 1,
                              "checkpoint": folder})
        job = subprocess.Popen([mpirun, "-n", str(ranks), command, "fit", "hmm", self.place(shape, "x"), *words, "--quiet"],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self.wait_until("two checkpoints", lambda: len(self.checkpoints(folder)) >= 2 or job.poll() is not None, patience)
            self.assertIsNone(job.poll())
            if what == "rank":
                os.kill(ranks_among(processes_with(folder))[-1], signal.SIGKILL)
                self.assertNotEqual(job.wait(patience), 0)
        finally:
            job.kill()
            job.wait()
        self.wait_for_ranks(folder)
        with h5py.File(self.checkpoints(folder)[-1], "r") as file:
            return int(file["training"].attrs["iterations"])

    def check_killed(self, shape, states, ranks, then_ranks, what="mpirun"):
        folder = self.path("")
        last = self.killed(shape, states, ranks, folder, what) + self.more_iterations
        expected = self.fit_way(shape, "gaussian", states, max_iter=last)

        resumed = self.fit_way(shape, "gaussian", states, then_ranks, 2, "streamed", max_iter=last, checkpoint=folder,
                               resume=True)

        self.assert_same(resumed, expected)

    def test_of_a_long_sequence_resumed_on_more_ranks(self):
        self.check_killed("long", states_composed, 2, 3)

    def test_of_one_rank_whose_messages_pass_in_order(self):
        self.check_killed("long", states_in_order, 2, 2, "rank")

    def test_of_ragged_sequences_resumed_on_fewer_ranks(self):
        self.check_killed("ragged", states_in_order, 3, 2)


if __name__ == "__main__":
    unittest.main()
