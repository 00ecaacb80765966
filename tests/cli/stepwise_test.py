"""Stepwise EM (--mini-batch): against the same in NumPy where a batch is all rows, and against EM where it is not."""

import json
import os
import signal
import subprocess
import unittest

import h5py
import numpy as np

from tally_cli import Model, TallyTest, bits_of, command, option_words, run, usage_status


def gaussian_logits(x, weights, means, variances):
    return (np.log(weights) - 0.5 * np.log(2 * np.pi * variances).sum(axis=1)
            - 0.5 * (((x[:, None, :] - means) ** 2) / variances).sum(axis=2))


def posterior(logits):
    largest = logits.max(axis=1, keepdims=True)
    rows = largest[:, 0] + np.log(np.exp(logits - largest).sum(axis=1))
    return np.exp(logits - rows[:, None]), rows


def naive_stepwise(x, w, start, decay, steps):
    """Stepwise EM (Cappe and Moulines 2009) of a diagonal Gaussian mixture; every batch is all rows."""
    weights, means, variances = (np.array(start[name], float) for name in ("weights", "means", "covariances"))
    running, trace = 0, []
    features = np.concatenate([np.ones((len(x), 1)), x, x ** 2], axis=1)
    columns = x.shape[1]
    for step in range(steps):
        r, rows = posterior(gaussian_logits(x, weights, means, variances))
        trace.append(w @ rows)
        share = (step + 1.0) ** -decay
        running = (1 - share) * running + share * (r * w[:, None]).T @ features
        count = running[:, :1]
        weights, means = count[:, 0] / w.sum(), running[:, 1:columns + 1] / count
        variances = running[:, columns + 1:] / count - means ** 2
    trace.append(w @ posterior(gaussian_logits(x, weights, means, variances))[1])
    return {"weights": weights, "means": means, "covariances": variances}, trace


class Stepwise(TallyTest):
    def setUp(self):
        super().setUp()
        random = np.random.default_rng(8)
        self.centres = random.normal(size=(4, 3)) * 3
        self.x = self.centres[random.integers(4, size=20000)] + random.normal(size=(20000, 3))
        self.w = random.choice([0.5, 1, 3], size=20000)
        self.data = self.write_data(self.x)

    def test_whole_batches_as_plain_loops_have_them(self):
        start = {"weights": [0.4, 0.3, 0.2, 0.1], "means": self.centres + 0.7, "covariances": np.full((4, 3), 2.0)}
        for decay in (0.6, 1.0):
            fitted = self.fit("gmm", self.data, 4, covariance="diag", init=self.start(**start), weights=self.write_data(self.w),
                              reg_covar=0, mini_batch=20000, held_out=0, step_decay=decay, tol=0, max_iter=7)
            expected, trace = naive_stepwise(self.x, self.w, start, decay, 7)
            self.assert_close(fitted.trace, trace, 1e-11)
            for name, value in expected.items():
                self.assert_close(fitted[name], value, 1e-9, absolute=1e-10)

    def test_few_readings_come_close_to_em(self):
        fitted = self.fit("gmm", self.data, 4, seed=3, mini_batch=1000, tol=0, max_iter=60)
        best = self.fit("gmm", self.data, 4, seed=3, tol=1e-9, max_iter=500)
        score = json.loads(self.succeed("score", fitted.file, self.data, "--json").stdout)
        self.assertLess(abs(score["mean"] - best.trace[-1] / 20000), 0.002)
        with h5py.File(fitted.file) as file:
            held_out = file["training/held_out"][()]
        self.assertEqual(len(held_out), 7)  # at steps 0, 10, ..., 60
        self.assertEqual(fitted.result["held_out_mean"], held_out[-1])
        self.assertEqual(fitted.trace[-1], held_out[-1] * 20000)
        self.assertLess(abs(held_out[-1] - score["mean"]), 0.1)

    def test_every_mixture_is_fitted_in_steps(self):
        counts = np.abs(np.round(self.x)) + 1
        cases = {"poisson": counts, "bernoulli": self.x > 0, "exponential": np.abs(self.x), "gamma": np.abs(self.x) + 0.01,
                 "multinomial": counts, "student-t": self.x, "von-mises-fisher":
                 self.x / np.linalg.norm(self.x, axis=1, keepdims=True), "gmm": np.where(self.x > 4, np.nan, self.x)}
        for model, x in cases.items():
            with self.subTest(model):
                options = {"missing": "nan"} if model == "gmm" else {}
                data = self.write_data(np.asarray(x, float))
                whole = self.fit(model, data, 2, seed=1, tol=0, max_iter=40, **options)
                steps = self.fit(model, data, 2, seed=1, tol=0, max_iter=60, mini_batch=2000, **options)
                score = json.loads(self.succeed("score", steps.file, data, "--json").stdout)
                self.assertLess(abs(score["mean"] - whole.trace[-1] / 20000), 0.02)

    def test_same_bits_however_it_is_cut(self):
        options = {"mini_batch": 1500, "max_iter": 12, "tol": 0, "n_init": 3, "seed": 5, "weights": self.write_data(self.w)}
        alone, *others = (bits_of(self.fit("gmm", self.data, 4, ranks=ranks, **options, **ways).file)
                          for ranks, ways in ((1, {"threads": 1}), (1, {"threads": 3, "memory": "200K"}), (2, {}),
                                              (3, {"threads": 2}), (4, {"memory": "100K"})))
        for other in others:
            self.assertEqual(alone, other)

    def test_resumed_fits_have_the_same_bits(self):
        options = {"mini_batch": 1500, "tol": 0, "seed": 5, "n_init": 2}
        expected = bits_of(self.fit("gmm", self.data, 4, max_iter=23, **options).file)
        state = self.path("")
        self.fit("gmm", self.data, 4, max_iter=7, checkpoint=state, every=5, **options)
        self.fit("gmm", self.data, 4, ranks=2, max_iter=12, checkpoint=state, resume=True, **options)
        self.assertEqual(bits_of(self.fit("gmm", self.data, 4, max_iter=23, checkpoint=state, resume=True, **options).file), expected)
        self.refuse_fit("gmm", self.data, 4, status=usage_status, says="another model, start, seed", max_iter=30, checkpoint=state,
                        resume=True, **{**options, "mini_batch": 1000})

    def test_limits_may_change_at_a_resume(self):
        """Also where --max-iter ends a fit between two looks, a step after one that came close."""
        options = {"mini_batch": 1500, "seed": 5, "n_init": 3, "tol": 0.002}
        expected = self.fit("gmm", self.data, 4, max_iter=400, **options)
        self.assertEqual(expected.result["status"], "converged")
        last = expected.result["iterations"]
        for ends in ([last - 9, last - 8], [11, 21], [1]):
            state = self.path("")
            for index, limit in enumerate(ends):
                self.fit("gmm", self.data, 4, max_iter=limit, checkpoint=state, **({"resume": True} if index else {}), **options)
            again = self.fit("gmm", self.data, 4, max_iter=400, checkpoint=state, resume=True, **options)
            self.assertEqual(bits_of(again.file), bits_of(expected.file))
        state = self.path("")
        self.fit("gmm", self.data, 4, max_iter=400, checkpoint=state, **{**options, "tol": 0.02})
        again = self.fit("gmm", self.data, 4, max_iter=400, checkpoint=state, resume=True, **options)
        self.assertEqual(bits_of(again.file), bits_of(expected.file))

    def test_batches_of_no_weight_change_nothing(self):
        """Half of the rows weigh nothing, in blocks that some batches consist of."""
        w = np.where(np.arange(20000) < 10000, 0.0, 1.0)
        weights, half = self.write_data(w), self.write_data(self.x[10000:])
        fitted = self.fit("gmm", self.data, 4, seed=3, weights=weights, mini_batch=60, held_out=0, tol=0, max_iter=800)
        best = self.fit("gmm", half, 4, seed=3, tol=1e-9, max_iter=500)
        score = json.loads(self.succeed("score", fitted.file, half, "--json").stdout)
        self.assertLess(abs(score["mean"] - best.trace[-1] / 10000), 0.02)

    def test_a_degenerate_component_is_reported_once(self):
        log = self.path(".log")
        x = np.concatenate([self.x, np.full((4000, 3), 60.0)])
        init = self.start(weights=[0.8, 0.2], means=[[0, 0, 0], [60, 60, 60]], covariances=[np.eye(3) * 5, np.eye(3)])
        self.fit("gmm", self.write_data(x), 2, init=init, mini_batch=2000, tol=0, max_iter=30, log=log)
        with open(log, encoding="utf-8") as lines:
            events = [event for event in map(json.loads, lines) if event["event"] == "degenerate"]
        self.assertTrue(1 <= len(events) <= 3, events)

    def test_a_stop_on_request_can_go_on(self):
        options = {"mini_batch": 1500, "tol": 0, "seed": 5, "max_iter": 10000}
        expected = bits_of(self.fit("gmm", self.data, 4, **options).file)
        state, out = self.path(""), self.path()
        words = option_words({"components": 4, "out": out, "checkpoint": state, "every": 50, **options})
        with subprocess.Popen([command, "fit", "gmm", self.data, *words, "--quiet"]) as process:
            self.wait_for_checkpoints(state)
            process.send_signal(signal.SIGUSR1)
            self.assertEqual(process.wait(timeout=60), 6)
        self.assertEqual(Model(out).training["status"], "unfinished")
        again = self.fit("gmm", self.data, 4, checkpoint=state, resume=True, **options)
        self.assertEqual(bits_of(again.file), expected)

    def test_the_tolerance_is_on_the_rows_held_out(self):
        log = self.path(".log")
        fitted = self.fit("gmm", self.data, 4, seed=3, mini_batch=1000, tol=0.0005, max_iter=1000, log=log)
        self.assertEqual(fitted.result["status"], "converged")
        self.assertEqual(fitted.result["iterations"] % 10, 0)
        with open(log, encoding="utf-8") as lines:
            events = [event for event in map(json.loads, lines) if event["event"] == "iteration"]
        looks = [event["mean_objective"] for event in events if event["of_held_out"]]
        self.assertLess(abs(looks[-1] - looks[-2]), 0.0005)
        self.assertGreaterEqual(abs(looks[-2] - looks[-3]), 0.0005)
        self.assertEqual(fitted.trace[-1], looks[-1] * 20000)

    def test_bad_words_are_refused(self):
        for options, says in (({"step_decay": 0.7}, "--mini-batch"), ({"held_out": 100}, "--mini-batch"),
                              ({"mini_batch": 100, "step_decay": 0.5}, "--step-decay must be above 0.5"),
                              ({"mini_batch": 100, "step_decay": 1.5}, "--step-decay must be above 0.5"),
                              ({"mini_batch": 100, "on_degenerate": "prune"}, "contradicts --mini-batch"),
                              ({"mini_batch": 100, "held_out": 20000}, "--held-out leaves no rows")):
            with self.subTest(**options):
                self.refuse_fit("gmm", self.data, 4, status=usage_status, says=says, **options)
        for model in ("kmeans", "hmm"):
            process = run("fit", model, self.data, "-k", 2, "--mini-batch", 100, "--out", os.path.join(self.folder, "no.h5"))
            self.assertEqual(process.returncode, usage_status)
            self.assertIn("--mini-batch", process.stderr)

    def test_rows_held_out_that_weigh_nothing_end_with_a_message(self):
        w = np.zeros(20000)
        w[:100] = 1
        self.refuse_fit("gmm", self.data, 2, weights=self.write_data(w), init="random-from-data", mini_batch=100, held_out=100,
                        says="the rows held out weigh nothing: give --held-out more rows")


if __name__ == "__main__":
    unittest.main()
