"""Hidden Markov models at the edge, through the command line: each input gives the value that a naive computation or every
path of a tiny chain gives, or one clear error."""

import unittest

import numpy as np

import hmm_naive as naive
from hmm_cli import HmmTest, categorical_parameters, gaussian_parameters, poisson_parameters
from tally_cli import EdgeInput

all_ranks = (1, 3)
relative = 1e-12


class StructuralZeros(HmmTest):
    def setUp(self):
        super().setUp()
        self.edge = EdgeInput("hmm_left_right_zeros")
        self.start_parameters = categorical_parameters(self.edge.reference)
        self.zero = {name: np.asarray(array) == 0 for name, array in self.start_parameters.items()}

    def fit_zeros(self, ranks=1, **options):
        return self.fit_from("categorical", self.edge.place(), self.start_parameters, ranks, **options)

    def test_stay_exactly_zero(self):
        for ranks in all_ranks:
            fitted = self.fit_zeros(ranks, max_iter=5)
            self.assert_close(fitted.trace, self.edge.reference["loglik_trace"], self.edge.tolerance)
            for name, zero in self.zero.items():
                self.assertTrue(np.all(np.isfinite(fitted[name])))
                np.testing.assert_array_equal(fitted[name][zero], 0)

    def test_give_the_sum_over_all_paths(self):
        x = self.edge.array().reshape(-1, 1)
        model = naive.Model(naive.Categorical(), self.start_parameters)
        log_likelihood, gamma, transitions, best = model.enumerate_paths(x)

        fitted = self.fit_zeros()
        after = self.fit_zeros(max_iter=1)

        self.assert_close(fitted.trace, [log_likelihood], relative)
        self.assert_close(self.smoothed(fitted, self.edge.place()), gamma, relative, absolute=relative)
        self.assert_close(self.decode(fitted, self.edge.place())[1], [best], relative)
        self.assert_close(after["transmat"][:2], (transitions / transitions.sum(axis=1, keepdims=True))[:2], relative)
        self.assert_parameters(after, categorical_parameters(self.edge.reference["theta1"]), relative)

    def test_come_from_a_topology(self):
        uniform = {"startprob": np.full(3, 1 / 3), "probabilities": self.start_parameters["probabilities"]}
        mask = np.array([[1, 1, 0], [0, 1, 1], [1, 0, 1]])
        places = {"left-right": np.triu(np.ones((3, 3))),
                  "banded:1": np.triu(np.tril(np.ones((3, 3)), 1), -1),
                  self.write(mask=mask) + ":/mask": mask}

        for topology, allowed in places.items():
            with self.subTest(topology=topology):
                start = {**uniform, "startprob": [1.0, 0.0, 0.0]} if topology == "left-right" else uniform
                fitted = self.fit_from("categorical", self.edge.place(), start, topology=topology, max_iter=3)
                np.testing.assert_array_equal(fitted["transmat"][allowed == 0], 0)
                self.assert_close(fitted["transmat"].sum(axis=1), np.ones(3), relative)
                self.assertTrue(np.all(np.isfinite(fitted.trace)))

    def test_are_no_free_parameters(self):
        parameters = {"startprob": [1.0, 0.0, 0.0], "transmat": [[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]],
                      "probabilities": [[[0.5, 0.5]], [[0.2, 0.8]], [[0.3, 0.7]]]}
        free = 0 + 2 + 3  # start probabilities, transitions, emissions
        data, checkpoints = self.write_data([0, 1, 0, 1, 1, 1, 0]), self.path("")
        way = {"init": self.start(**parameters), "tol": 0, "checkpoint": checkpoints, "every": 1}

        fitted = self.fit_hmm("categorical", data, 3, ranks=2, max_iter=2, **way)
        resumed = self.fit_hmm("categorical", data, 3, max_iter=4, resume=True, **way)

        for model in (fitted, resumed):
            self.assertEqual(model.training["free_parameters"], free)
            score = self.score(model, data)
            self.assertEqual(score["free_parameters"], free)
            self.assert_close(score["bic"], free * np.log(7) - 2 * score["total"], relative)
            self.assert_close(score["aic"], 2 * free - 2 * score["total"], relative)

    def test_that_em_comes_to_were_free(self):
        parameters = {"startprob": [0.5, 0.5], "transmat": [[0.5, 0.5], [0.5, 0.5]], "probabilities": [[[1.0, 0.0]], [[0.0, 1.0]]]}
        data = self.write_data([0, 1, 0, 1])

        fitted = self.fit_from("categorical", data, parameters, max_iter=2)

        np.testing.assert_array_equal(fitted["transmat"], [[0.0, 1.0], [1.0, 0.0]])
        self.assertEqual(self.score(fitted, data)["free_parameters"], 1 + 2 + 2)

    def test_survive_a_prior(self):
        fitted = self.fit_zeros(max_iter=3, transmat_prior=2.0, startprob_prior=1.5)

        for name, zero in self.zero.items():
            np.testing.assert_array_equal(fitted[name][zero], 0)

    def check_impossible(self, parameters, good, bad, step):
        """Nothing explains this step of `bad`, alone or after sequences that are fine."""
        bad_alone, lengths = self.write_data(bad), self.write(lengths=[len(good), len(bad)]) + ":/lengths"
        options = {"init": self.start(**parameters), "symbols": 3}
        for ranks in (1, 2, 3):
            self.refuse_hmm("categorical", self.write_data(good + bad), 3, ranks, lengths=lengths,
                            says=("sequence 1", f"step {step}"), **options)
            self.refuse_hmm("categorical", bad_alone, 3, ranks, says=("sequence 0", f"step {step}"), **options)

    def test_make_a_symbol_impossible(self):
        never_two = {**self.start_parameters, "probabilities": np.tile([0.5, 0.5, 0.0], (3, 1, 1))}

        self.check_impossible(never_two, [0, 0, 1, 1], [0, 1, 2, 1, 2], 2)

    def test_make_a_transition_impossible(self):
        one_way = {"startprob": [1.0, 0.0, 0.0], "transmat": [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 1.0]],
                   "probabilities": np.eye(3)[:, None, :]}

        self.check_impossible(one_way, [0, 1, 2, 2], [0, 1, 2, 1, 2], 3)
        self.check_impossible(one_way, [0, 1, 2, 2], [1, 1], 0)


class ShortSequences(HmmTest):
    def test_of_no_steps_are_refused_by_number(self):
        lengths = EdgeInput("hmm_short_sequences").place("lengths")
        data = self.write_data(np.arange(7.0))

        for ranks in all_ranks:
            self.refuse_hmm("gaussian", data, 1, ranks, lengths=lengths, says="sequence 2 is empty")

    def test_of_one_step_count_for_start_and_emissions_alone(self):
        x = np.array([[3], [9], [2], [4], [8], [7], [1]])
        parameters = poisson_parameters({"pi": [0.4, 0.6], "A": [[0.7, 0.3], [0.2, 0.8]], "lam": [3.0, 7.0]})
        data = self.write_data(x)
        lengths = self.write(lengths=[1, 1, 5]) + ":/lengths"
        _, models = naive.baum_welch(naive.Model(naive.Poisson(), parameters), naive.split(x, [1, 1, 5]), 1)

        for ranks in (1, 2, 3, 4):
            fitted = self.fit_from("poisson", data, parameters, ranks, lengths=lengths, max_iter=1)
            self.assert_parameters(fitted, models[1].parameters, relative)
        only = self.write_data(x[:3])
        ones = self.write(lengths=[1, 1, 1]) + ":/lengths"
        fitted = self.fit_from("poisson", only, parameters, lengths=ones, max_iter=1)
        np.testing.assert_array_equal(fitted["transmat"], parameters["transmat"])

    def test_a_single_row_has_no_transitions(self):
        edge = EdgeInput("single_row")
        parameters = poisson_parameters({"pi": [0.25, 0.75], "A": [[0.9, 0.1], [0.3, 0.7]], "lam": [5.0, 8.0]})
        _, models = naive.baum_welch(naive.Model(naive.Poisson(), parameters), [edge.array()], 1)

        for ranks in all_ranks:
            start = self.fit_from("poisson", edge.place(), parameters, ranks)
            after = self.fit_from("poisson", edge.place(), parameters, ranks, max_iter=1)
            self.assert_close(start.trace, [models[0].log_likelihood(edge.array())], relative)
            self.assert_parameters(after, models[1].parameters, relative)
            np.testing.assert_array_equal(after["transmat"], parameters["transmat"])

    def test_fewer_than_ranks(self):
        x = np.random.default_rng(1).normal(size=(9, 1))
        data, lengths = self.write_data(x), self.write(lengths=[4, 5]) + ":/lengths"
        parameters = gaussian_parameters({"pi": [0.5, 0.5], "A": [[0.6, 0.4], [0.3, 0.7]], "mean": [[-1.0], [1.0]],
                                          "cov": [[[1.0]], [[1.0]]]}, "diag")

        fits = [self.fit_from("gaussian", data, parameters, ranks, lengths=lengths, max_iter=3) for ranks in (1, 3, 4)]

        for fitted in fits[1:]:
            np.testing.assert_array_equal(fitted.trace, fits[0].trace)
            np.testing.assert_array_equal(fitted["transmat"], fits[0]["transmat"])
            np.testing.assert_array_equal(self.decode(fitted, data, 4, lengths=lengths)[0],
                                          self.decode(fits[0], data, lengths=lengths)[0])


class Lengths(HmmTest):
    def setUp(self):
        super().setUp()
        self.data = self.write_data(np.arange(10.0))

    def check(self, lengths, says):
        place = self.write(lengths=lengths) + ":/lengths"
        for ranks in all_ranks:
            self.refuse_hmm("gaussian", self.data, 2, ranks, lengths=place, says=says)

    def test_that_do_not_sum_to_the_rows_are_refused(self):
        self.check([4, 5], ("9", "10 rows"))
        self.check([4, 7], ("11", "10 rows"))

    def test_below_zero_are_refused_by_sequence(self):
        self.check([12, -2], "sequence 1")

    def test_that_are_no_whole_numbers_are_refused(self):
        self.check([4.5, 5.5], "sequence 0")

    def test_say_how_many_rows_are_drawn(self):
        fitted = self.fit_from("gaussian", self.data, gaussian_parameters(
            {"pi": [1.0], "A": [[1.0]], "mean": [[4.0]], "cov": [[[9.0]]]}, "diag"))
        place = self.write(lengths=[4, 5]) + ":/lengths"
        drawn, counted = self.path(), self.path()

        for ranks in all_ranks:
            self.succeed("sample", fitted.file, "--lengths", place, "--out", drawn, ranks=ranks)
            self.succeed("sample", fitted.file, "--lengths", place, "--rows", 9, "--out", counted, ranks=ranks)
            np.testing.assert_array_equal(self.read(drawn, "x")["x"], self.read(counted, "x")["x"])
        self.refuse("sample", fitted.file, "--out", self.folder + "/unwritten.h5", status=2, says="--rows")
        self.refuse("sample", fitted.file, "--lengths", place, "--rows", 8, "--out", self.folder + "/unwritten.h5",
                    says=("9 steps", "8 rows"))

    def test_are_refused_when_a_model_is_decoded(self):
        fitted = self.fit_from("gaussian", self.data, gaussian_parameters(
            {"pi": [1.0], "A": [[1.0]], "mean": [[4.0]], "cov": [[[9.0]]]}, "diag"))
        place = self.write(lengths=[4, 5]) + ":/lengths"

        for command in ("decode", "predict"):
            self.refuse(command, fitted.file, self.data, "--lengths", place, "--out", self.folder + "/unwritten.h5",
                        says=("9", "10 rows"))
        self.refuse("score", fitted.file, self.data, "--lengths", place, says=("9", "10 rows"))


class Forecasts(HmmTest):
    def test_of_more_steps_than_can_be_held_are_refused(self):
        data = self.write_data(np.arange(10.0))
        fitted = self.fit_from("gaussian", data, gaussian_parameters(
            {"pi": [0.5, 0.5], "A": np.full((2, 2), 0.5), "mean": [[4.0], [6.0]], "cov": [[[9.0]], [[9.0]]]}, "diag"))

        for steps, size in ((2**60, "3.69e+19 bytes"), (10**18, "3.2e+19 bytes"), (2**63 - 1, "2.95e+20 bytes")):
            for ranks in all_ranks:
                self.refuse("forecast", fitted.file, data, "--steps", steps, "--out", self.folder + "/unwritten.h5", status=2,
                            says=(f"--steps {steps}", size), ranks=ranks)


class Symbols(HmmTest):
    def setUp(self):
        super().setUp()
        self.parameters = categorical_parameters({"pi": [0.5, 0.5], "A": [[0.6, 0.4], [0.4, 0.6]],
                                                  "E": [[0.2, 0.3, 0.5], [0.6, 0.2, 0.2]]})

    def test_out_of_range_are_refused_by_row(self):
        edge = EdgeInput("hmm_unseen_symbol")
        fitted = self.fit_from("categorical", self.write_data([0, 1, 2, 1]), self.parameters)
        out = self.folder + "/unwritten.h5"

        for ranks in all_ranks:
            self.refuse("score", fitted.file, edge.place(), ranks=ranks, says="row 2")
            self.refuse("decode", fitted.file, edge.place(), "--out", out, ranks=ranks, says="row 2")
            self.refuse_hmm("categorical", edge.place(), 2, ranks, symbols=3, says="row 2")

    def test_that_are_negative_or_fractional_are_refused_by_row(self):
        for symbols in ([0, 1, 1, -1], [0, 1, 2, 0.5]):
            for ranks in all_ranks:
                self.refuse_hmm("categorical", self.write_data(symbols), 2, ranks, says="row 3")

    def test_that_never_occur_keep_their_place(self):
        fitted = self.fit_hmm("categorical", self.write_data([0, 1, 0, 0, 1]), 2, symbols=4, max_iter=2, seed=1)

        self.assertEqual(fitted["probabilities"].shape, (2, 1, 4))
        np.testing.assert_array_equal(fitted["probabilities"][:, :, 2:], 0)

    def test_that_are_no_bits_are_refused_by_row(self):
        for ranks in all_ranks:
            self.refuse_hmm("bernoulli", self.write_data([0, 1, 2]), 2, ranks, says="row 2")


class States(HmmTest):
    def test_must_be_counted(self):
        self.refuse("fit", "hmm", self.write_data(np.arange(9.0)), "--out", self.folder + "/unwritten.h5", status=2,
                    says="--states is needed")

    def test_are_limited(self):
        data = self.write_data(np.zeros(40000))

        for ranks in all_ranks:
            self.refuse("fit", "hmm", data, "--states", 32768, "--out", self.folder + "/unwritten.h5", "--quiet", status=2,
                        says="at most 32767 states", ranks=ranks)

    def test_that_emit_mixtures_are_not_said_by_labels(self):
        data, start = self.write_data(np.arange(9.0)), self.write(y=np.arange(9) % 2, r=np.eye(2)[np.arange(9) % 2])

        for way in ("labels:" + start + ":/y", "responsibilities:" + start + ":/r"):
            for ranks in all_ranks:
                self.refuse("fit", "hmm", data, "--states", 2, "--mixtures", 2, "--init", way, "--out",
                            self.folder + "/unwritten.h5", "--quiet", status=2, says="needs --mixtures 1", ranks=ranks)


class KnownStates(HmmTest):
    """Of so few of the rows that a sample would hardly have them."""

    steps, known_of_each, states = 30000, 2, 3

    def setUp(self):
        super().setUp()
        random = np.random.default_rng(8)
        self.hidden = np.cumsum(random.uniform(size=self.steps) < 0.05) % self.states
        self.x = 6 * self.hidden + random.normal(size=self.steps)
        self.data = self.write_data(self.x)
        self.known = np.concatenate([random.choice(np.flatnonzero(self.hidden == k), self.known_of_each, replace=False)
                                     for k in range(self.states)])

    def labels(self, numbers, known):
        y = np.full(self.steps, -1)
        y[known] = np.asarray(numbers)[self.hidden[known]]
        return self.write(y=y) + ":/y"

    def test_number_the_states_of_a_start(self):
        for init in ("kmeans", "k-means++", "random-from-data"):
            for numbers in ([0, 1, 2], [1, 2, 0], [2, 0, 1]):
                with self.subTest(init=init, numbers=numbers):
                    labels = self.labels(numbers, self.known)
                    fits = [self.fit_hmm("gaussian", self.data, self.states, ranks, init=init, labels=labels, max_iter=20,
                                         seed=1) for ranks in all_ranks]
                    self.assert_close(fits[0]["means"][numbers, 0], [0, 6, 12], 0, absolute=0.1)
                    for name in fits[0].parameters:
                        self.assertEqual(fits[0][name].tobytes(), fits[1][name].tobytes(), name)

    def test_leave_the_other_states_to_the_start(self):
        for state in range(self.states):
            labels = self.labels([2, 2, 2], self.known[self.hidden[self.known] == state])
            fitted = self.fit_hmm("gaussian", self.data, self.states, labels=labels, max_iter=20, seed=1)
            self.assert_close(fitted["means"][2], [6 * state], 0, absolute=0.1)
            self.assert_close(np.sort(fitted["means"][:, 0]), [0, 6, 12], 0, absolute=0.1)


class UnreachableStates(HmmTest):
    def test_keep_their_parameters(self):
        parameters = poisson_parameters({"pi": [1.0, 0.0], "A": [[1.0, 0.0], [0.5, 0.5]], "lam": [3.0, 40.0]})
        x = np.array([[2], [4], [3], [5], [1]])
        data = self.write_data(x)
        model = naive.Poisson()

        for ranks in all_ranks:
            fitted = self.fit_from("poisson", data, parameters, ranks, max_iter=4)
            self.assert_close(fitted.trace[0], model.log_densities(x, parameters)[:, 0].sum(), relative)
            self.assert_close(fitted["rates"][0], [3.0], relative)
            np.testing.assert_array_equal(fitted["rates"][1], [40.0])
            np.testing.assert_array_equal(fitted["startprob"], [1.0, 0.0])
            np.testing.assert_array_equal(fitted["transmat"], [[1.0, 0.0], [0.5, 0.5]])


class MissingRows(HmmTest):
    def setUp(self):
        super().setUp()
        self.parameters = gaussian_parameters({"pi": [0.3, 0.7], "A": [[0.8, 0.2], [0.1, 0.9]],
                                               "mean": [[-1.0, 0.0], [1.0, 2.0]],
                                               "cov": [np.eye(2), 2 * np.eye(2)]}, "full")
        self.options = {"covariance": "full", "reg_covar": 0}
        self.x = np.random.default_rng(2).normal(size=(12, 2))

    def check(self, lengths):
        data, place = self.write_data(self.x), self.write(lengths=lengths) + ":/lengths"
        sequences = naive.split(self.x, lengths)
        model = naive.Model(naive.Gaussian("full"), self.parameters)
        trace, models = naive.baum_welch(model, sequences, 2)
        for ranks in all_ranks:
            fitted = self.fit_from("gaussian", data, self.parameters, ranks, lengths=place, max_iter=2, **self.options)
            self.assert_close(fitted.trace, trace, relative)
            self.assert_parameters(fitted, models[2].parameters, 1e-10)
            start = self.fit_from("gaussian", data, self.parameters, ranks, lengths=place, **self.options)
            self.assert_close(self.score_of_each_sequence(start, data, ranks, lengths=place),
                              [model.log_likelihood(x) for x in sequences], relative, absolute=1e-14)
            self.assert_close(self.smoothed(start, data, ranks, lengths=place),
                              np.concatenate([model.smooth(x)[1] for x in sequences]), 1e-11)
        return start

    def test_are_summed_out(self):
        self.x[[0, 3, 4, 11]] = np.nan

        self.check([5, 7])

    def test_may_be_a_whole_sequence(self):
        self.x[4:8] = np.nan

        self.check([4, 4, 4])

    def test_of_which_some_values_are_known_are_refused(self):
        self.x[5] = np.nan
        self.x[7, 1] = np.nan

        for ranks in all_ranks:
            self.refuse_hmm("gaussian", self.write_data(self.x), 2, ranks, says=("row 7", "column 1"))

    def test_may_not_be_infinite(self):
        self.x[7, 1] = np.inf

        self.refuse_hmm("gaussian", self.write_data(self.x), 2, says=("row 7", "column 1"))

    def test_may_not_be_all(self):
        self.x[:] = np.nan

        for ranks in all_ranks:
            self.refuse_hmm("gaussian", self.write_data(self.x), 2, ranks)


class Ties(HmmTest):
    def setUp(self):
        super().setUp()
        self.data = self.write_data([0, 1, 1, 0, 1, 0, 0])

    def test_of_equal_states_go_to_the_lowest(self):
        parameters = categorical_parameters({"pi": np.full(4, 0.25), "A": np.full((4, 4), 0.25),
                                             "E": np.full((4, 2), 0.5)})

        for ranks in all_ranks:
            fitted = self.fit_from("categorical", self.data, parameters, ranks)
            for method in ("viterbi", "map"):
                states, _ = self.decode(fitted, self.data, ranks, method=method)
                np.testing.assert_array_equal(states, np.zeros(7))
            np.testing.assert_array_equal(self.labels(fitted, self.data, ranks), np.zeros(7))

    def test_of_mirrored_paths_go_to_the_lowest(self):
        # Either state forever: two paths of one probability.
        parameters = categorical_parameters({"pi": [0, 0.5, 0.5], "A": np.eye(3), "E": np.full((3, 2), 0.5)})

        states, log_probability = self.decode(self.fit_from("categorical", self.data, parameters), self.data)

        np.testing.assert_array_equal(states, np.ones(7))
        self.assert_close(log_probability, [8 * np.log(0.5)], relative)

    def test_at_each_step_of_the_way_back_go_to_the_lowest(self):
        # All paths have one probability, and every sum has the same terms: equal to the bit.
        one_or_two_on = 0.5 * (np.roll(np.eye(4), 1, axis=1) + np.roll(np.eye(4), 2, axis=1))
        parameters = categorical_parameters({"pi": np.full(4, 0.25), "A": one_or_two_on, "E": np.full((4, 2), 0.5)})

        for ranks in all_ranks:
            states, _ = self.decode(self.fit_from("categorical", self.data, parameters), self.data, ranks)
            np.testing.assert_array_equal(states, [0, 2, 0, 2, 0, 2, 0])


class Weights(HmmTest):
    def setUp(self):
        super().setUp()
        self.x = np.random.default_rng(4).poisson(4, (20, 1))
        self.lengths = [6, 5, 9]
        self.parameters = poisson_parameters({"pi": [0.5, 0.5], "A": [[0.7, 0.3], [0.3, 0.7]], "lam": [2.0, 6.0]})

    def fit_weighted(self, weights, ranks=1):
        return self.fit_from("poisson", self.write_data(self.x), self.parameters, ranks, max_iter=3,
                             lengths=self.write(lengths=self.lengths) + ":/lengths",
                             weights=self.write(w=weights) + ":/w")

    def test_of_a_sequence_are_that_many_copies(self):
        first, second, third = naive.split(self.x, self.lengths)
        copies = self.fit_from("poisson", self.write_data(np.concatenate([first, first, third])), self.parameters,
                               lengths=self.write(lengths=[6, 6, 9]) + ":/lengths", max_iter=3)

        for ranks in all_ranks:
            weighted = self.fit_weighted([2.0, 0.0, 1.0], ranks)
            self.assert_close(weighted.trace, copies.trace, relative)
            self.assert_parameters(weighted, copies.parameters, 1e-10)

    def test_must_be_as_many_as_sequences(self):
        self.refuse_hmm("poisson", self.write_data(self.x), 2, lengths=self.write(lengths=self.lengths) + ":/lengths",
                        weights=self.write(w=np.ones(20)) + ":/w", says=("20", "3 sequences"))


if __name__ == "__main__":
    unittest.main()
