"""Rows that lack values (--missing nan): EM on what is observed, against the same in plain loops."""

import json
import math
import unittest

import h5py
import numpy as np

import hmm_naive
from tally_cli import TallyTest, bits_of, covariance_matrices, usage_status

shapes = ("full", "tied", "diag", "spherical")
log_two_pi = math.log(2 * math.pi)


def observed_columns(row):
    return np.flatnonzero(~np.isnan(row))


def gaussian_log_density(row, mean, covariance):
    """Of the observed columns alone, whose distribution is normal with their part of mean and covariance."""
    seen = observed_columns(row)
    if not len(seen):
        return 0.0
    part = covariance[np.ix_(seen, seen)]
    difference = row[seen] - mean[seen]
    return -0.5 * (len(seen) * log_two_pi + np.linalg.slogdet(part)[1] + difference @ np.linalg.solve(part, difference))


def expected_row(row, mean, covariance):
    """E[x] and E[x x'] given the observed columns (Little and Rubin, Statistical Analysis with Missing Data, section 8.2)."""
    seen, lost = observed_columns(row), np.flatnonzero(np.isnan(row))
    gain = covariance[np.ix_(lost, seen)] @ np.linalg.pinv(covariance[np.ix_(seen, seen)])
    filled, spread = row.copy(), np.zeros_like(covariance)
    filled[lost] = mean[lost] + gain @ (row[seen] - mean[seen])
    spread[np.ix_(lost, lost)] = covariance[np.ix_(lost, lost)] - gain @ covariance[np.ix_(seen, lost)]
    return filled, np.outer(filled, filled) + spread


class NaiveGaussian:
    def __init__(self, shape):
        self.shape = shape

    def matrices(self, p):
        columns = p["means"].shape[1]
        matrices = covariance_matrices(p["covariances"], self.shape, columns)
        return [matrices] * len(p["means"]) if self.shape == "tied" else matrices

    def log_densities(self, x, p):
        return np.array([[gaussian_log_density(row, m, S) for m, S in zip(p["means"], self.matrices(p))] for row in x])

    def maximize(self, x, r, p):
        K, D = p["means"].shape
        means, scatters = np.zeros((K, D)), np.zeros((K, D, D))
        for k, (m, S) in enumerate(zip(p["means"], self.matrices(p))):
            first, second = zip(*(expected_row(row, m, S) for row in x))
            means[k] = r[:, k] @ np.array(first) / r[:, k].sum()
            scatters[k] = np.tensordot(r[:, k], np.array(second), 1) - r[:, k].sum() * np.outer(means[k], means[k])
        totals = r.sum(axis=0)
        each = scatters / totals[:, None, None]
        covariances = {"full": lambda: each, "tied": lambda: scatters.sum(axis=0) / totals.sum(),
                       "diag": lambda: np.array([np.diag(S) for S in each]),
                       "spherical": lambda: np.array([np.trace(S) / D for S in each])}[self.shape]()
        return {"means": means, "covariances": covariances}


class NaiveEmission(NaiveGaussian):
    """Of hidden Markov models, to which rows without any value are steps that were not observed."""

    def maximize(self, x, r, p):
        seen = ~np.isnan(x).all(axis=1)
        return super().maximize(x[seen], r[seen], p)


class NaivePoisson:
    def log_densities(self, x, p):
        return np.array([[sum(c * math.log(rate) - rate - math.lgamma(c + 1) for c, rate in zip(row, rates) if not math.isnan(c))
                          for rates in p["rates"]] for row in x])

    def maximize(self, x, r, p):
        seen = ~np.isnan(x)
        return {"rates": (r.T @ np.where(seen, x, 0)) / (r.T @ seen)}


class NaiveBernoulli:
    def log_densities(self, x, p):
        return np.array([[sum(math.log(q if v else 1 - q) for v, q in zip(row, each) if not math.isnan(v))
                          for each in p["probabilities"]] for row in x])

    def maximize(self, x, r, p):
        seen = ~np.isnan(x)
        return {"probabilities": (r.T @ np.where(seen, x, 0)) / (r.T @ seen)}


def posterior(family, x, p):
    logits = family.log_densities(x, p) + np.log(p["weights"])
    largest = logits.max(axis=1, keepdims=True)
    rows = largest[:, 0] + np.log(np.exp(logits - largest).sum(axis=1))
    return np.exp(logits - rows[:, None]), rows


def naive_em(family, x, w, start, iterations):
    """Parameters after so many M-steps, and the log-likelihood before each and at the end."""
    p, trace = {name: np.array(value, float) for name, value in start.items()}, []
    for _ in range(iterations):
        r, rows = posterior(family, x, p)
        trace.append(w @ rows)
        r = r * w[:, None]
        p = {**family.maximize(x, r, p), "weights": r.sum(axis=0) / w.sum()}
    trace.append(w @ posterior(family, x, p)[1])
    return p, np.array(trace)


def leave_out(random, x, share):
    """Some values NaN, a row of NaN alone and a full one among them."""
    x = np.where(random.random(x.shape) < share, np.nan, x)
    x[3], x[4] = np.nan, 1
    return x


class Missing(TallyTest):
    def setUp(self):
        super().setUp()
        random = np.random.default_rng(31)
        mixing = random.normal(size=(3, 4, 4))
        centres = np.array([[0, 0, 0, 0], [6, -4, 3, 100], [-5, 5, 8, -200]])
        scale = np.array([1, 1, 5, 30])
        which = random.integers(3, size=400)
        x = np.array([centres[k] + scale * (mixing[k] @ random.normal(size=4)) for k in which])
        self.x = leave_out(random, x, 0.25)
        self.w = random.choice([0.5, 1, 2], size=len(x))
        self.random = random
        identity = scale ** 2 * 4.0
        self.starts = {shape: {"weights": [0.3, 0.3, 0.4], "means": centres + 1.5, "covariances": one} for shape, one in
                       (("full", [np.diag(identity)] * 3), ("tied", np.diag(identity)), ("diag", [identity] * 3),
                        ("spherical", [100.0, 200, 300]))}

    def check_em(self, model, family, x, start, iterations=6, **options):
        data, weights = self.write_data(x), self.write_data(self.w)
        fitted = self.fit(model, data, 3, init=self.start(**start), weights=weights, missing="nan", tol=0,
                          max_iter=iterations, **options)
        expected, trace = naive_em(family, x, self.w, start, iterations)
        self.assert_close(fitted.trace, trace, 1e-11)
        for name, value in expected.items():
            self.assert_close(fitted[name], value, 1e-8, absolute=1e-9)
        self.assertEqual(fitted.result["rows"], len(x))
        return data, fitted

    def test_gaussians_as_plain_loops_have_them(self):
        for shape in shapes:
            with self.subTest(shape):
                self.check_em("gmm", NaiveGaussian(shape), self.x, self.starts[shape], covariance=shape, reg_covar=0)

    def test_counts_and_bits_as_plain_loops_have_them(self):
        rates = np.array([[1, 5, 20, 0.5], [8, 1, 30, 2], [3, 3, 3, 3.0]])
        counts = self.random.poisson(rates[self.random.integers(3, size=400)]).astype(float)
        self.check_em("poisson", NaivePoisson(), leave_out(self.random, counts, 0.3),
                      {"weights": [0.2, 0.3, 0.5], "rates": rates * 1.3})
        chances = np.array([[0.9, 0.2, 0.4, 0.5], [0.1, 0.8, 0.4, 0.7], [0.5, 0.5, 0.9, 0.1]])
        bits = (self.random.random((400, 4)) < chances[self.random.integers(3, size=400)]).astype(float)
        self.check_em("bernoulli", NaiveBernoulli(), leave_out(self.random, bits, 0.3),
                      {"weights": [0.2, 0.3, 0.5], "probabilities": 0.1 + 0.8 * chances})

    def test_one_column_and_one_component(self):
        one = {"weights": [1.0], "means": [[2.0]], "covariances": [[[3.0]]]}
        x, w = self.x[:, :1], np.ones(400)
        fitted = self.fit("gmm", self.write_data(x), 1, init=self.start(**one), missing="nan", reg_covar=0, tol=0, max_iter=300)
        self.assert_close(fitted["means"], [[np.nanmean(x)]], 1e-12)
        self.assert_close(fitted["covariances"], [[[np.nanvar(x)]]], 1e-12)
        expected, trace = naive_em(NaiveGaussian("full"), x, w, one, 3)
        self.assert_close(fitted.trace[:4], trace, 1e-12)

    def test_a_component_that_never_sees_a_column_starts_as_wide_as_the_data(self):
        """Of two clouds one lacks the second column wherever it is seen; nothing says where it is, and nothing narrows it."""
        a, b = self.random.normal([0, 0], 1, (300, 2)), self.random.normal([50, 0], 1, (300, 2))
        a[:, 1] = np.nan
        data = self.write_data(np.concatenate([a, b]))
        for shape in ("full", "diag"):
            for ridge in (0, 1e-6):
                fitted = self.fit("gmm", data, 2, covariance=shape, missing="nan", reg_covar=ridge, seed=1, max_iter=20)
                variances = fitted["covariances"][:, 1, 1] if shape == "full" else fitted["covariances"][:, 1]
                self.assertGreater(variances.min(), 0.5)
        counts = np.concatenate([np.full((300, 1), 3.0), np.full((300, 1), 900.0)])
        counts = np.hstack([counts, np.where(counts == 3, np.nan, 1000)])
        fitted = self.fit("poisson", self.write_data(counts), 2, missing="nan", seed=1)
        self.assert_close(fitted["rates"][:, 1], [1000, 1000], 0.02)

    def test_rows_without_a_value_start_nothing(self):
        x = np.concatenate([np.full((700, 2), np.nan), self.random.normal(size=(300, 2))])
        for seed in range(5):
            fitted = self.fit("gmm", self.write_data(x), 2, missing="nan", init="random-from-data", seed=seed, max_iter=3)
            self.assertFalse(np.array_equal(*fitted["means"]))

    def test_a_resumed_fit_has_the_same_bits(self):
        data, state = self.write_data(self.x), self.path("")
        options = {"missing": "nan", "covariance": "full", "seed": 5, "tol": 0}
        expected = bits_of(self.fit("gmm", data, 3, max_iter=9, **options).file)
        self.fit("gmm", data, 3, max_iter=4, checkpoint=state, every=2, **options)
        self.assertEqual(bits_of(self.fit("gmm", data, 3, ranks=2, max_iter=9, checkpoint=state, resume=True, **options).file),
                         expected)

    def test_single_precision_is_close(self):
        for shape in shapes:
            with self.subTest(shape):
                data, init = self.write_data(self.x), self.start(**self.starts[shape])
                both = [self.fit("gmm", data, 3, init=init, missing="nan", tol=0, max_iter=5, covariance=shape, precision=p)
                        for p in ("double", "single")]
                self.assert_close(both[1].trace, both[0].trace, 1e-5)
                self.assert_close(both[1]["means"], both[0]["means"], 1e-3, absolute=1e-2)

    def test_probabilities_scores_and_draws_of_the_fitted_model(self):
        for shape in shapes:
            with self.subTest(shape):
                data = self.write_data(self.x)
                fitted = self.fit("gmm", data, 3, missing="nan", covariance=shape, seed=1, max_iter=30)
                expected, rows = posterior(NaiveGaussian(shape), self.x, {name: fitted[name] for name in fitted.parameters})
                self.assert_close(self.probabilities(fitted, data, ranks=2), expected, 1e-7, absolute=1e-9)
                self.assert_close(fitted.trace[-1], rows.sum(), 1e-10)
                score = json.loads(self.succeed("score", fitted.file, data, "--json").stdout)
                self.assert_close(score["total"], rows.sum(), 1e-10)
                self.assertTrue(np.all(np.diff(fitted.trace) > -1e-3), "the ridge aside, the likelihood rises")
                drawn = self.path()
                self.succeed("sample", fitted.file, "--rows", 500, "--out", drawn)
                with h5py.File(drawn) as file:
                    self.assertTrue(np.all(np.isfinite(file["x"][()])))

    def test_without_missing_values_it_is_the_complete_fit(self):
        complete = np.where(np.isnan(self.x), 1.0, self.x)
        data = self.write_data(complete)
        for shape in (*shapes, "VEI", "EVE"):
            both = [self.fit("gmm", data, 3, covariance=shape, seed=2, max_iter=10, tol=0, **options)
                    for options in ({}, {"missing": "nan"})]
            for name in both[0].parameters:
                self.assert_close(both[1][name], both[0][name], 1e-7, absolute=1e-8)
            self.assert_close(both[1].trace, both[0].trace, 1e-11)

    def test_likelihood_rises_under_every_covariance_prior_and_freeze(self):
        data = self.write_data(self.x)
        ways = [{"covariance": name} for name in ("EII", "EEI", "VEI", "EVI", "EEV", "VEV", "VVE", "EVV")]
        ways += [{"covariance": shape, "freeze": "means", "init": self.start(**self.starts[shape])} for shape in shapes]
        for options in ways:
            with self.subTest(**options):
                fitted = self.fit("gmm", data, 3, missing="nan", reg_covar=0, tol=0, max_iter=25, seed=4, **options)
                rises = np.diff(fitted.trace)
                self.assertTrue(np.all(rises > -1e-7 * abs(fitted.trace[-1])), rises)
                self.assertGreater(fitted.trace[-1], fitted.trace[0])
        for shape in shapes:
            fitted = self.fit("gmm", data, 3, missing="nan", covariance=shape, seed=4, mean_precision_prior=0.1,
                              degrees_of_freedom_prior=8.0, weight_concentration_prior=2.0)
            self.assertTrue(np.isfinite(fitted.trace).all())

    def test_same_bits_however_it_is_cut(self):
        x = np.tile(self.x, (40, 1)) + self.random.normal(size=(16000, 4))
        cases = [("gmm", x, {"covariance": shape}) for shape in shapes]
        cases += [("poisson", np.abs(np.round(x)), {}), ("bernoulli", np.where(np.isnan(x), np.nan, x > 0), {}),
                  ("hmm", x, {"emission": "gaussian", "covariance": "full"})]
        for model, values, options in cases:
            with self.subTest(model, **options):
                data = self.write_data(values)
                alone, *others = (bits_of(self.fit(model, data, 3, ranks=ranks, missing="nan", max_iter=4, tol=0, seed=3,
                                                   **options, **ways).file)
                                  for ranks, ways in ((1, {"threads": 1}), (1, {"threads": 3, "memory": "1M"}), (2, {}),
                                                      (3, {"threads": 2}), (4, {"memory": "1M"})))
                for other in others:
                    self.assertEqual(alone, other)

    def test_hidden_markov_models_lack_values_too(self):
        steps = self.x[:60]
        start = {**self.starts["full"], "startprob": [0.5, 0.3, 0.2],
                 "transmat": [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6]]}
        del start["weights"]
        data = self.write_data(steps)
        for shape in ("full", "diag"):
            start["covariances"] = self.starts[shape]["covariances"]
            fitted = self.fit("hmm", data, 3, emission="gaussian", covariance=shape, reg_covar=0, missing="nan", tol=0, max_iter=4,
                              init=self.start(**start))
            trace, models = hmm_naive.baum_welch(hmm_naive.Model(NaiveEmission(shape), start), [steps], 4)
            self.assert_close(fitted.trace, trace, 1e-11)
            for name, value in models[-1].parameters.items():
                self.assert_close(fitted[name], value, 1e-8, absolute=1e-9)

    def test_unknown_rows_and_missing_values_together(self):
        """Labels of every fourth row hold; rows of no value at all are of any component."""
        which = np.argmin([((np.nan_to_num(self.x) - m) ** 2 / [1, 1, 25, 900]).sum(axis=1) for m in self.starts["full"]["means"]],
                          axis=0)
        labels = np.where(np.arange(400) % 4 == 0, which, -1)
        fitted = self.fit("gmm", self.write_data(self.x), 3, labels=self.write_data(labels), missing="nan", covariance="full")
        self.assertTrue(np.isfinite(fitted.trace).all())
        for k in range(3):  # components have the numbers that labels give them
            known = self.x[(labels == k)]
            self.assertLess(abs(fitted["means"][k][3] - np.nanmean(known[:, 3])), 40)
        empty = self.probabilities(fitted, self.write_data(np.full((5, 4), np.nan)))
        self.assert_close(empty, np.tile(fitted["weights"], (5, 1)), 1e-9)

    def test_select_compares_shapes_of_incomplete_rows(self):
        data, out = self.write_data(self.x), self.path()
        words = ["select", "gmm", data, "-k", "1:4", "--covariance", "full,diag", "--seed", 2, "--out", out]
        self.refuse(*words, says="--missing nan")
        self.refuse(*words, "--missing", "error,nan", status=usage_status, says="--missing error,nan is unknown")
        table = json.loads(self.succeed(*words, "--missing", "nan", "--json").stdout)["models"]
        alone = self.fit("gmm", data, 2, covariance="diag", seed=2, missing="nan")
        same = next(row for row in table if row["components"] == 2 and row["options"]["covariance"] == "diag")
        self.assertEqual(same["log_likelihood"], alone.trace[-1])
        self.succeed("predict", out, data, "--out", self.path() + ":/labels")  # the model knows that NaN is missing

    def test_bad_values_are_named(self):
        data = self.write_data(self.x)
        self.refuse_fit("gmm", data, 3, says=["column", "is NaN", "--missing nan"])
        self.refuse_fit("gmm", data, 3, missing="none", status=usage_status, says="--missing none is unknown: error and nan")
        process = self.refuse("fit", "kmeans", data, "-k", 3, "--missing", "nan", "--out", self.folder + "/no.h5",
                              status=usage_status)
        self.assertIn("--missing", process)
        for bad, word in ((np.inf, "is infinite"), (-np.inf, "is infinite")):
            x = self.x.copy()
            x[7, 2] = bad
            self.refuse_fit("gmm", self.write_data(x), 3, missing="nan", says=["row 7, column 2", word], ranks=2)
        counts = np.where(np.isnan(self.x), np.nan, 3.0)
        counts[9, 1] = 2.5
        self.refuse_fit("poisson", self.write_data(counts), 3, missing="nan", says=["row 9, column 1", "not a whole number"])
        x = self.x.copy()
        x[:, 1] = np.nan
        self.refuse_fit("gmm", self.write_data(x), 3, missing="nan", says="column 1 (counted from 0) is missing in every row that")
        fitted = self.fit("gmm", self.write_data(np.nan_to_num(self.x)), 3)
        self.refuse("predict", fitted.file, data, "--out", self.folder + "/no.h5:/x", says=["is NaN"])


if __name__ == "__main__":
    unittest.main()
