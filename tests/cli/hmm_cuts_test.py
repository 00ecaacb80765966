"""Sequences that are cut into pieces, on 1 to 4 ranks, against plain loops that know no cuts: with states few enough that the
messages of pieces are composed, and with more."""

import unittest

import numpy as np

import hmm_naive as naive
from hmm_cli import HmmTest, model_of

piece_steps = 1024  # of so many columns, with any number of states below
columns, informative = 512, 3  # all columns but the informative ones are 0 in every row
lengths = (5, 2 * piece_steps + 300, 1, 40, piece_steps + 1)  # three pieces and two
rows = sum(lengths)
first_cuts = 5 + piece_steps * np.arange(1, 3)  # first rows of pieces of the first long sequence
iterations = 1
states_composed, states_in_order = 3, 17
trace_relative, parameter_relative = 1e-11, 1e-9


class Problem:
    """Random bits, and a chain that may have made them."""

    def __init__(self, states, mixtures=1):
        self.random = np.random.default_rng(70 + states)
        self.states = states
        self.x = np.zeros((rows, columns))
        self.x[:, :informative] = self.random.integers(0, 2, (rows, informative))
        probabilities = np.zeros((states * mixtures, columns))
        probabilities[:, :informative] = self.random.uniform(0.1, 0.9, (states * mixtures, informative))
        self.parameters = {"startprob": self.random.dirichlet(np.full(states, 3.0)),
                           "transmat": self.random.dirichlet(np.full(states, 3.0), states), "probabilities": probabilities}
        self.options = {}
        if mixtures > 1:
            self.parameters["mixture_weights"] = self.random.dirichlet(np.full(mixtures, 3.0), states)
            self.options["mixtures"] = mixtures

    def forbid_transitions(self):
        """State 0 for good, or a ring of the others, which no step forgets and a piece hardly tells apart; half of the starts."""
        ring = np.zeros((self.states, self.states))
        ring[0, 0] = 1
        others = np.eye(self.states - 1)
        ring[1:, 1:] = others + np.roll(others, 1, axis=1)
        self.parameters["probabilities"][:, :informative] += 0.95 * (0.5 - self.parameters["probabilities"][:, :informative])
        self.parameters["transmat"] = ring / ring.sum(axis=1, keepdims=True)
        self.parameters["startprob"][1::2] = 0
        self.parameters["startprob"] /= self.parameters["startprob"].sum()

    def forget_rows_at_cuts(self):
        """Before a cut, behind one and, in the second long sequence, on both sides."""
        second = rows - 1
        for missing in (range(first_cuts[0] - 3, first_cuts[0]), range(first_cuts[1], first_cuts[1] + 2),
                        range(second - 2, second + 1)):
            self.x[list(missing)] = np.nan

    def narrow(self):
        """The same chain of the columns that say anything."""
        parameters = {**self.parameters, "probabilities": self.parameters["probabilities"][:, :informative]}
        return naive.Model(naive.Bernoulli(), parameters), naive.split(self.x[:, :informative], lengths)


def problems(**shape):
    yield from (Problem(states, **shape) for states in (states_composed, states_in_order))


class CutChains(HmmTest):
    def setUp(self):
        super().setUp()
        self.lengths = self.write(lengths=lengths) + ":/lengths"

    def assert_narrow(self, fitted, expected):
        """The parameters of the informative columns; the others stay impossible."""
        np.testing.assert_array_equal(fitted["probabilities"][:, informative:], 0)
        narrow = {**expected, "probabilities": expected["probabilities"]}
        fitted.parameters["probabilities"] = fitted["probabilities"][:, :informative]
        self.assert_parameters(fitted, narrow, parameter_relative)

    def check_fit(self, problem, ranks=(1, 2, 3, 4), naive_options=None, **options):
        model, sequences = problem.narrow()
        trace, models = naive.baum_welch(model, sequences, iterations, **(naive_options or {}))
        data = self.write_data(problem.x)
        for rank_count in ranks:
            fitted = self.fit_from("bernoulli", data, problem.parameters, rank_count, max_iter=iterations, lengths=self.lengths,
                                   **problem.options, **options)
            self.assert_close(fitted.trace, trace, trace_relative)
            self.assert_narrow(fitted, models[-1].parameters)
        return fitted

    def check_results(self, problem):
        data, options = self.write_data(problem.x), {"lengths": self.lengths}
        start = self.fit_from("bernoulli", data, problem.parameters, **problem.options, **options)
        model, sequences = problem.narrow()
        paths = [model.viterbi(x) for x in sequences]
        gamma = np.concatenate([model.smooth(x)[1] for x in sequences])
        for ranks in (1, 3):
            states, log_probability = self.decode(start, data, ranks, **options)
            np.testing.assert_array_equal(states, np.concatenate([path for _, path in paths]))
            self.assert_close(log_probability, [one for one, _ in paths], trace_relative)
            self.assert_close(self.smoothed(start, data, ranks, **options), gamma, parameter_relative, absolute=1e-13)

    def test_of_any_transitions(self):
        for problem in problems():
            with self.subTest(states=problem.states):
                self.check_fit(problem)
                self.check_results(problem)

    def test_with_structural_zeros(self):
        for problem in problems():
            with self.subTest(states=problem.states):
                problem.forbid_transitions()
                fitted = self.check_fit(problem)
                for name in ("startprob", "transmat"):
                    np.testing.assert_array_equal(fitted[name][np.asarray(problem.parameters[name]) == 0], 0)
                self.check_results(problem)

    def test_with_missing_rows_at_cuts(self):
        for problem in problems():
            with self.subTest(states=problem.states):
                problem.forget_rows_at_cuts()
                self.check_fit(problem)
                self.check_results(problem)

    def test_with_known_states_at_cuts(self):
        for problem in problems():
            with self.subTest(states=problem.states):
                labels = np.full(rows, -1)
                for cut in first_cuts:
                    labels[cut - 1:cut + 1] = problem.random.integers(0, problem.states, 2)
                labels[-2:] = problem.states - 1, 0
                self.check_fit(problem, naive_options={"labels": naive.split(labels, lengths)},
                               labels=self.write(y=labels) + ":/y")

    def test_of_states_that_emit_mixtures(self):
        for problem in problems(mixtures=2):
            with self.subTest(states=problem.states):
                self.check_fit(problem, ranks=(1, 3))
                self.check_results(problem)

    def test_of_several_candidates(self):
        for problem in problems():
            with self.subTest(states=problem.states):
                data = self.write_data(problem.x)
                for ranks in (1, 3):
                    fitted = self.fit_hmm("bernoulli", data, problem.states, ranks, n_init=3, max_iter=2, tol=0, seed=8,
                                          init="random", lengths=self.lengths)
                    fitted.parameters["probabilities"] = fitted["probabilities"][:, :informative]
                    model = model_of(fitted, naive.Bernoulli())
                    log_likelihood = sum(model.log_likelihood(x) for x in problem.narrow()[1])
                    self.assert_close(fitted.trace[-1], log_likelihood, trace_relative)

    def test_of_labels_that_count_as_transitions(self):
        for problem in problems():
            with self.subTest(states=problem.states):
                labels = problem.random.integers(0, problem.states, rows)
                transitions = np.zeros((problem.states, problem.states))
                for sequence in naive.split(labels, lengths):
                    np.add.at(transitions, (sequence[:-1], sequence[1:]), 1)
                data = self.write_data(problem.x)

                for ranks in (1, 2, 3, 4):
                    fitted = self.fit_hmm("bernoulli", data, problem.states, ranks, init="labels:" + self.write_data(labels),
                                          count_transitions=True, max_iter=0, tol=0, lengths=self.lengths)
                    self.assert_close(fitted["transmat"], transitions / transitions.sum(axis=1, keepdims=True), 1e-14)


class FailuresInOnePiece(HmmTest):
    """A label that is no state is found by the rank that has its row, while ranks exchange messages."""

    def test_end_all_ranks_with_one_error(self):
        for states in (states_composed, states_in_order):
            data = self.write_data(Problem(states).x)
            for row in (3, first_cuts[0] + 7, rows - 1):
                labels = np.full(rows, -1)
                labels[row] = states
                for ranks in (1, 2, 4):
                    with self.subTest(states=states, row=row, ranks=ranks):
                        self.refuse_hmm("bernoulli", data, states, ranks, lengths=self.write(lengths=lengths) + ":/lengths",
                                        labels=self.write(y=labels) + ":/y", says=f"label of row {row}")


if __name__ == "__main__":
    unittest.main()
