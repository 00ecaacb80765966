"""The naive hidden Markov models that other tests compare with: against published cases and every path of tiny chains."""

import unittest

import numpy as np

import hmm_naive as naive
from hmm_cli import categorical_parameters, gaussian_covariances, gaussian_parameters, poisson_parameters
from tally_cli import Case, EdgeInput, TallyTest

gaussian_types = ("full", "tied", "diag", "spherical")


class NaiveReference(TallyTest):
    def check(self, emission, sequences, trace, thetas, parameters, relative):
        """Trace and parameters after t M-steps."""
        start = naive.Model(emission, parameters(thetas["0"]))

        actual, models = naive.baum_welch(start, sequences, len(trace) - 1)

        self.assert_close(actual, trace, relative)
        for t, theta in thetas.items():
            if t != "last":
                for name, array in parameters(theta).items():
                    self.assert_close(models[int(t)].parameters[name], array, 1e-9, absolute=1e-12)
        return models

    def test_earthquakes(self):
        case = Case("hmm_poisson_earthquakes")
        x = case.array("X").reshape(-1, 1)

        for golden in case.golden["models"].values():
            em, stationary = golden["EM"], golden["stationary_MLE"]
            self.check(naive.Poisson(), [x], em["loglik_trace"], em["theta"], poisson_parameters, 1e-11)
            model = naive.Model(naive.Poisson(), poisson_parameters({"pi": stationary["delta"], **stationary}))
            self.assert_close(model.log_likelihood(x), -stationary["minus_loglik"], 1e-9)
            np.testing.assert_array_equal(model.viterbi(x)[1], stationary["viterbi_path"])

    def test_icecream(self):
        case = Case("hmm_categorical_icecream")
        golden, published = case.golden["without_stop"], case.golden["published"]["first_iteration_expected"]
        x = case.array("X").reshape(-1, 1)

        models = self.check(naive.Categorical(), [x], golden["loglik_trace"], golden["theta"], categorical_parameters,
                            1e-12)

        counts = naive.Counts(models[0], [x])
        self.assert_printed(counts.transitions, [[published["CC"], published["CH"]],
                                                 [published["HC"], published["HH"]]], 1e-3)
        self.assert_printed(counts.components[0].sum(axis=(0, 2)), published["totals"], 1e-3)

    def test_dna(self):
        case = Case("hmm_categorical_dna")
        x = case.array("X").reshape(-1, 1)

        models = self.check(naive.Categorical(), [x], case.golden["loglik_trace"], case.golden["theta"],
                            categorical_parameters, 1e-10)

        log_probability, path = models[10].viterbi(x)
        self.assert_close(log_probability, case.golden["viterbi_logprob_theta10"], 1e-10)
        np.testing.assert_array_equal(path, case.array("viterbi_path_theta10"))

    def test_geyser(self):
        case = Case("hmm_gauss_multivariate_geyser")

        for name, golden in case.golden["models"].items():
            shape = name.split("_")[1]
            with self.subTest(name):
                self.check(naive.Gaussian(shape), [case.array("X")], golden["loglik_trace"], golden["theta"],
                           lambda theta, shape=shape: gaussian_parameters(theta, shape), 1e-10)

    def test_umbrella(self):
        case = Case("hmm_umbrella_inference")
        golden = case.golden
        x = case.array("obs").reshape(-1, 1)
        model = naive.Model(naive.Categorical(), categorical_parameters({**golden, "E": golden["emission"]}))

        log_likelihood, gamma, transitions = model.smooth(x)
        log_probability, path = model.viterbi(x)

        alpha = np.array(golden["alpha"])
        self.assert_close(log_likelihood, golden["loglik"], 1e-13)
        self.assert_close(gamma, golden["posterior"], 1e-13)
        self.assert_close(transitions, golden["xi_sum"], 1e-13)
        self.assert_close(log_probability, golden["viterbi_logprob"], 1e-13)
        self.assert_close(model.filter(x), alpha / alpha.sum(axis=1, keepdims=True), 1e-13)
        np.testing.assert_array_equal(path, golden["viterbi_path"])

    def test_left_right_zeros(self):
        edge = EdgeInput("hmm_left_right_zeros")
        x = edge.array().reshape(-1, 1)
        start = naive.Model(naive.Categorical(), categorical_parameters(edge.reference))

        trace, models = naive.baum_welch(start, [x], 5)

        self.assert_close(trace, edge.reference["loglik_trace"], edge.tolerance)
        self.assert_close(start.smooth(x)[1], edge.reference["posterior"], edge.tolerance, absolute=edge.tolerance)
        for name, array in categorical_parameters(edge.reference["theta1"]).items():
            self.assert_close(models[1].parameters[name], array, edge.tolerance)
        for name, array in start.parameters.items():
            np.testing.assert_array_equal(models[-1].parameters[name][array == 0], 0)


class EveryPath(TallyTest):
    """Tiny chains: sums over paths by forward and backward messages are the sums over all paths."""

    states, steps = 3, 6

    def model(self, emission, **parameters):
        random = np.random.default_rng(5)
        startprob, transmat = random.dirichlet(np.ones(self.states)), random.dirichlet(np.ones(self.states), self.states)
        transmat[0] = [0.5, 0, 0.5]
        return naive.Model(emission, {"startprob": startprob, "transmat": transmat, **parameters})

    def check(self, model, x):
        log_likelihood, gamma, transitions, best = model.enumerate_paths(x)

        actual = model.smooth(x)
        log_probability, path = model.viterbi(x)

        self.assert_close(actual[0], log_likelihood, 1e-12)
        self.assert_close(actual[1], gamma, 1e-12)
        self.assert_close(actual[2], transitions, 1e-12, absolute=1e-14)
        self.assert_close(log_probability, best, 1e-12)
        log_start, log_transitions = model.logarithms()
        log_b = model.log_b(x)
        self.assert_close(log_start[path[0]] + sum(log_transitions[i, j] for i, j in zip(path, path[1:]))
                          + sum(log_b[t, state] for t, state in enumerate(path)), best, 1e-12)

    def test_of_gaussians_with_a_missing_row(self):
        random = np.random.default_rng(6)
        x = random.normal(size=(self.steps, 2))
        x[2] = np.nan
        for shape in gaussian_types:
            covariances = gaussian_covariances([(k + 1) * np.eye(2) for k in range(self.states)], shape)
            self.check(self.model(naive.Gaussian(shape), means=random.normal(size=(self.states, 2)),
                                  covariances=covariances), x)

    def test_of_mixtures(self):
        random = np.random.default_rng(7)
        model = self.model(naive.Gaussian("diag"), mixture_weights=random.dirichlet([1, 1], self.states),
                           means=random.normal(size=(2 * self.states, 1)), covariances=np.ones((2 * self.states, 1)))
        self.check(model, random.normal(size=(self.steps, 1)))

    def test_of_counts_symbols_and_bits(self):
        random = np.random.default_rng(8)
        self.check(self.model(naive.Poisson(), rates=[[1.0, 2.0], [0.0, 3.0], [4.0, 5.0]]),
                   random.poisson(2, size=(self.steps, 2)))
        self.check(self.model(naive.Categorical(), probabilities=random.dirichlet(np.ones(4), (self.states, 2))),
                   random.integers(0, 4, (self.steps, 2)))
        self.check(self.model(naive.Bernoulli(), probabilities=random.uniform(size=(self.states, 2))),
                   random.integers(0, 2, (self.steps, 2)))

    def test_under_labels_is_the_sum_over_paths_that_agree(self):
        random = np.random.default_rng(9)
        model = self.model(naive.Bernoulli(), probabilities=random.uniform(size=(self.states, 1)))
        x = random.integers(0, 2, (self.steps, 1))
        labels = np.array([-1, 1, -1, -1, 2, -1])
        log_b = model.log_b(x, labels)

        expected = naive.enumerate_paths(*model.logarithms(), log_b)

        self.assert_close(model.smooth(x, labels)[0], expected[0], 1e-12)
        np.testing.assert_allclose(model.smooth(x, labels)[1][[1, 4]], np.eye(3)[[1, 2]], atol=1e-14)

    def test_a_rate_of_zero_explains_zeros_alone(self):
        model = naive.Model(naive.Poisson(), {"startprob": [0.5, 0.5], "transmat": np.full((2, 2), 0.5),
                                              "rates": [[0.0], [1.0]]})

        np.testing.assert_array_equal(model.log_b([[0], [2]])[:, 0], [0, -np.inf])


class EveryMStep(TallyTest):
    def test_raises_the_likelihood(self):
        random = np.random.default_rng(10)
        sequences = [random.normal(size=(length, 2)) for length in (1, 7, 12)]
        sequences[2][4] = np.nan
        start = naive.Model(naive.Gaussian("full"), {
            "startprob": [0.3, 0.7], "transmat": [[0.8, 0.2], [0.4, 0.6]], "means": [[-1.0, 0.0], [1.0, 0.0]],
            "covariances": [np.eye(2), np.eye(2)]})

        trace, _ = naive.baum_welch(start, sequences, 8, weights=[1.0, 0.5, 2.0])

        self.assertTrue(np.all(np.diff(trace) > -1e-12), trace)

    def test_keeps_probabilities_that_are_tiny(self):
        np.testing.assert_array_equal(naive.normalized(np.array([1e-24, 1.0]), 1.0, [0.5, 0.5]), [1e-24, 1.0])

    def test_of_weight_two_is_that_of_two_copies(self):
        random = np.random.default_rng(11)
        x, y = random.poisson(3, (9, 1)), random.poisson(5, (4, 1))
        start = naive.Model(naive.Poisson(), poisson_parameters({"pi": [0.5, 0.5], "A": [[0.7, 0.3], [0.2, 0.8]],
                                                                 "lam": [2.0, 6.0]}))

        weighted, _ = naive.baum_welch(start, [x, y], 4, weights=[2.0, 1.0])
        copied, _ = naive.baum_welch(start, [x, x, y], 4)

        self.assert_close(weighted, copied, 1e-13)


if __name__ == "__main__":
    unittest.main()
