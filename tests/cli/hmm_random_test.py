"""Random chains of every emission against the naive ones: several sequences, weights, priors, known labels, missing rows."""

import unittest

import h5py
import numpy as np

import hmm_naive as naive
from hmm_cli import HmmTest, gaussian_covariances, model_of

lengths = (17, 1, 40, 2, 5, 30)
rows = sum(lengths)
iterations = 3
trace_relative, parameter_relative = 1e-11, 1e-9


class Problem:
    """Random data, start parameters and what the options of the command say of them."""

    def __init__(self, seed, name, states, columns=2, shape="diag", mixtures=1):
        self.random = np.random.default_rng(seed)
        self.name, self.states = name, states
        components = states * mixtures
        self.parameters = {"startprob": self.random.dirichlet(np.full(states, 3.0)),
                           "transmat": self.random.dirichlet(np.full(states, 3.0), states)}
        self.options = {}
        if mixtures > 1:
            self.parameters["mixture_weights"] = self.random.dirichlet(np.full(mixtures, 3.0), states)
            self.options["mixtures"] = mixtures
        if name == "gaussian":
            self.x = self.random.normal(size=(rows, columns)) + 3 * self.random.integers(0, 3, (rows, 1))
            roots = 0.5 * self.random.normal(size=(components, columns, columns))
            matrices = roots @ roots.transpose(0, 2, 1) + np.eye(columns)
            self.parameters["means"] = 3 * self.random.normal(size=(components, columns))
            self.parameters["covariances"] = gaussian_covariances(matrices, shape)
            self.options.update(covariance=shape, reg_covar=0)
            self.emission = naive.Gaussian(shape)
        elif name == "poisson":
            self.x = self.random.poisson(6, (rows, columns)).astype(float)
            self.parameters["rates"] = self.random.uniform(2, 10, (components, columns))
            self.emission = naive.Poisson()
        elif name == "categorical":
            self.x = self.random.integers(0, 5, (rows, columns)).astype(float)
            self.parameters["probabilities"] = self.random.dirichlet(np.full(5, 3.0), (components, columns))
            self.options["symbols"] = 5
            self.emission = naive.Categorical()
        else:
            self.x = self.random.integers(0, 2, (rows, columns)).astype(float)
            self.parameters["probabilities"] = self.random.uniform(0.1, 0.9, (components, columns))
            self.emission = naive.Bernoulli()

    def sequences(self):
        return naive.split(self.x, lengths)

    def model(self):
        return naive.Model(self.emission, self.parameters)


def problems():
    yield from (Problem(seed, "gaussian", 3, shape=shape)
                for seed, shape in enumerate(("full", "tied", "diag", "spherical")))
    yield Problem(10, "poisson", 4)
    yield Problem(11, "categorical", 3)
    yield Problem(12, "bernoulli", 2, columns=6)
    yield Problem(13, "poisson", 17)


class RandomChains(HmmTest):
    def places(self, problem):
        return self.write_data(problem.x), {"lengths": self.write(lengths=lengths) + ":/lengths"}

    def check_fit(self, problem, naive_options=None, ranks=(2,), **options):
        data, places = self.places(problem)
        trace, models = naive.baum_welch(problem.model(), problem.sequences(), iterations, **(naive_options or {}))
        for rank_count in ranks:
            fitted = self.fit_from(problem.name, data, problem.parameters, rank_count, max_iter=iterations,
                                   **problem.options, **places, **options)
            self.assert_parameters(fitted, models[-1].parameters, parameter_relative)
            if "transmat_prior" not in options:  # a prior is part of the objective
                self.assert_close(fitted.trace, trace, trace_relative)
        return fitted

    def test_of_every_emission(self):
        for problem in problems():
            with self.subTest(problem.name, states=problem.states, **problem.options):
                self.check_fit(problem, ranks=(1, 2))

    def test_with_missing_rows(self):
        for problem in problems():
            problem.x[problem.random.choice(rows, 20, replace=False)] = np.nan
            with self.subTest(problem.name, states=problem.states, **problem.options):
                self.check_fit(problem)

    def test_with_weights(self):
        weights = np.array([0.5, 2.0, 1.0, 0.0, 3.0, 1.25])
        for problem in problems():
            with self.subTest(problem.name, states=problem.states, **problem.options):
                self.check_fit(problem, {"weights": weights}, weights=self.write(w=weights) + ":/w")

    def test_with_labels_of_some_steps(self):
        for problem in problems():
            labels = np.where(problem.random.uniform(size=rows) < 0.3, problem.random.integers(0, problem.states, rows), -1)
            with self.subTest(problem.name, states=problem.states, **problem.options):
                self.check_fit(problem, {"labels": naive.split(labels, lengths)}, labels=self.write(y=labels) + ":/y")

    def test_with_priors(self):
        for problem in problems():
            with self.subTest(problem.name, states=problem.states, **problem.options):
                self.check_fit(problem, {"startprob_prior": 1.5, "transmat_prior": 3.0}, startprob_prior=1.5,
                               transmat_prior=3.0)

    def test_with_frozen_parameters(self):
        for frozen in ("startprob", "transmat", "means", "covariances"):
            problem = Problem(20, "gaussian", 3)
            problem.emission.keeps_means = frozen == "means"
            with self.subTest(frozen=frozen):
                fitted = self.check_fit(problem, {"frozen": [frozen]}, freeze=frozen)
                self.assert_close(fitted[frozen], problem.parameters[frozen], 4e-16, absolute=4e-16)  # standardised and back

    def test_with_a_fixed_start(self):
        problem = Problem(21, "poisson", 3)

        fitted = self.check_fit(problem, {"frozen": ["startprob"]}, startprob="fixed")

        np.testing.assert_array_equal(fitted["startprob"], problem.parameters["startprob"])

    def test_of_mixtures(self):
        for shape in ("full", "diag", "spherical"):
            with self.subTest(shape=shape):
                # No component collapses on a few points.
                self.check_fit(Problem(31, "gaussian", 2, shape=shape, mixtures=3))

    def test_decode_predict_and_score_as_the_naive_ones(self):
        for number, problem in enumerate(problems()):
            problem.x[problem.random.choice(rows, 9, replace=False)] = np.nan
            data, places = self.places(problem)
            fitted = self.fit_from(problem.name, data, problem.parameters, **problem.options, **places)
            model, sequences = model_of(fitted, problem.emission), problem.sequences()
            paths = [model.viterbi(x) for x in sequences]
            gamma = np.concatenate([model.smooth(x)[1] for x in sequences])
            log_likelihoods = [model.log_likelihood(x) for x in sequences]

            for ranks in (1, 2) if number == 0 else (2,):
                with self.subTest(problem.name, states=problem.states, ranks=ranks, **problem.options):
                    states, log_probability = self.decode(fitted, data, ranks, **places)
                    np.testing.assert_array_equal(states, np.concatenate([path for _, path in paths]))
                    self.assert_close(log_probability, [one for one, _ in paths], trace_relative)
                    self.assert_close(self.smoothed(fitted, data, ranks, **places), gamma, 1e-9, absolute=1e-13)
                    self.assert_close(self.filtered(fitted, data, ranks, **places),
                                      np.concatenate([model.filter(x) for x in sequences]), 1e-9, absolute=1e-13)
                    states, _ = self.decode(fitted, data, ranks, method="map", **places)
                    np.testing.assert_array_equal(states, gamma.argmax(axis=1))
                    self.assert_close(self.score_of_each_sequence(fitted, data, ranks, **places), log_likelihoods,
                                      trace_relative, absolute=1e-13)
                    self.assert_close(self.score(fitted, data, ranks, **places)["total"], sum(log_likelihoods),
                                      trace_relative)

    def test_forecast_as_powers_of_the_transitions(self):
        problem = Problem(40, "gaussian", 3)
        data, places = self.places(problem)
        fitted = self.fit_from("gaussian", data, problem.parameters, **problem.options, **places)
        model = model_of(fitted, problem.emission)
        means, variances = fitted["means"], fitted["covariances"]

        for ranks in (1, 2):
            out = self.path()
            self.succeed("forecast", fitted.file, data, "--lengths", places["lengths"], "--steps", 4, "--out", out,
                         ranks=ranks)
            ahead = self.read(out, "states", "means", "variances")
            for s, x in enumerate(problem.sequences()):
                state = model.filter(x)[-1]
                for h in range(4):
                    state = state @ fitted["transmat"]
                    mean = state @ means
                    self.assert_close(ahead["states"][s, h], state, 1e-10)
                    self.assert_close(ahead["means"][s, h], mean, 1e-9)
                    self.assert_close(ahead["variances"][s, h], state @ (variances + means**2) - mean**2, 1e-9)

    def test_forecast_of_mixtures_and_symbols(self):
        for problem in (Problem(31, "gaussian", 2, mixtures=3), Problem(41, "categorical", 3)):
            data, places = self.places(problem)
            fitted = self.fit_from(problem.name, data, problem.parameters, **problem.options, **places)
            out = self.path()
            self.succeed("forecast", fitted.file, data, "--lengths", places["lengths"], "--steps", 2, "--out", out)

            with h5py.File(out, "r") as file:
                ahead = {name: array[()] for name, array in file.items()}

            if problem.name == "categorical":
                expected = np.einsum("shk,kdv->shdv", ahead["states"], fitted["probabilities"])
                self.assert_close(ahead["probabilities"], expected, 1e-10)
                self.assertNotIn("means", ahead)
            else:
                shares = (ahead["states"][..., None] * fitted["mixture_weights"]).reshape(len(lengths), 2, -1)
                means = shares @ fitted["means"]
                squares = shares @ (fitted["covariances"] + fitted["means"]**2)
                self.assert_close(ahead["means"], means, 1e-10)
                self.assert_close(ahead["variances"], squares - means**2, 1e-9)

    def test_labels_start_as_counts(self):
        problem = Problem(50, "poisson", 3)
        labels = problem.random.integers(0, 3, rows)
        data, places = self.places(problem)
        init = "labels:" + self.write_data(labels)
        sequences = naive.split(labels, lengths)
        transitions, starts = np.zeros((3, 3)), np.zeros(3)
        for sequence in sequences:
            starts[sequence[0]] += 1
            np.add.at(transitions, (sequence[:-1], sequence[1:]), 1)

        plain = self.fit_hmm("poisson", data, 3, init=init, max_iter=0, tol=0, **places)
        counted = self.fit_hmm("poisson", data, 3, init=init, max_iter=0, tol=0, count_transitions=True, **places)

        rates = np.array([problem.x[labels == k].mean(axis=0) for k in range(3)])
        uniform = {"startprob": np.full(3, 1 / 3), "transmat": np.full((3, 3), 1 / 3), "rates": rates}
        self.assert_parameters(plain, uniform, parameter_relative)
        self.assert_parameters(counted, {"startprob": starts / starts.sum(), "rates": rates,
                                         "transmat": transitions / transitions.sum(axis=1, keepdims=True)},
                               parameter_relative)

    def test_drawn_sequences_have_the_transitions_of_the_model(self):
        problem = Problem(60, "gaussian", 3, columns=1)
        data, places = self.places(problem)
        fitted = self.fit_from("gaussian", data, problem.parameters, **problem.options, **places)
        out = self.path()

        self.succeed("sample", fitted.file, "--rows", 60000, "--out", out, "--labels", "--seed", 3)

        states = self.read(out, "labels")["labels"]
        counts = np.zeros((3, 3))
        np.add.at(counts, (states[:-1], states[1:]), 1)
        # Four standard deviations of a share of about 20000.
        self.assert_close(counts / counts.sum(axis=1, keepdims=True), fitted["transmat"], 0, absolute=0.015)


if __name__ == "__main__":
    unittest.main()
