"""Reference cases of hidden Markov models through the command line: traces and parameters within each case's own
tolerance, published values to their printed digits. An entry t of a trace belongs to the parameters after t M-steps."""

import os
import unittest

import numpy as np

from hmm_cli import HmmTest, categorical_parameters, gaussian_parameters, poisson_parameters
from tally_cli import Case

ranks_of_reference = (1, 3)


class HmmReference(HmmTest):
    parameter_relative = 1e-9

    def check(self, emission, data, golden, parameters, trace_relative, **options):
        """The trace on several ranks, then the parameters after t M-steps; returns the longest fit."""
        trace, thetas = golden["loglik_trace"], golden["theta"]
        for ranks in ranks_of_reference:
            fitted = self.fit_from(emission, data, parameters(thetas["0"]), ranks, max_iter=len(trace) - 1, **options)
            self.assert_close(fitted.trace, trace, trace_relative)
        for t in thetas:
            if t != "last":
                early = self.fit_from(emission, data, parameters(thetas["0"]), max_iter=int(t), **options)
                self.assert_parameters(early, parameters(thetas[t]), self.parameter_relative)
        return fitted


class EarthquakesReference(HmmReference):
    def setUp(self):
        super().setUp()
        self.case = Case("hmm_poisson_earthquakes")
        self.data = self.case.place("X")
        self.assertEqual(self.case.golden["tolerance"], "1e-11 rel EM trace; 1e-5 converged")
        self.published = self.case.golden["published"]

    def check_free(self, states):
        golden = self.case.golden["models"][f"K{states}"]["EM"]
        fitted = self.check("poisson", self.data, golden, poisson_parameters, 1e-11)
        self.assertEqual(fitted.training["free_parameters"], states - 1 + states * (states - 1) + states)

        converged = golden["converged"]
        fitted = self.fit_from("poisson", self.data, poisson_parameters(golden["start"]),
                               max_iter=converged["iterations"])
        self.assert_close(fitted.trace[-1], converged["loglik"], 1e-9)
        self.assert_parameters(fitted, poisson_parameters(converged), 1e-5)
        for t, minus_log_likelihood in self.published.get(f"EM_minus_loglik_K{states}", {}).items():
            self.assert_printed(-fitted.trace[int(t)], minus_log_likelihood, 1e-5)
        return fitted

    def test_two_states(self):
        fitted = self.check_free(2)

        printed = self.published["EM_K2_conv"]
        self.assert_printed(fitted["rates"].ravel(), printed["lam"], 1e-3)
        self.assert_printed(fitted["transmat"][[0, 1], [1, 0]], printed["A_off"], 1e-3)

    def test_three_states(self):
        fitted = self.check_free(3)

        # The printed 29.711 stopped early: the limit is 29.7097.
        self.assert_close(fitted["rates"].ravel(), self.published["EM_K3_lam"], 1e-4)

    def test_four_states(self):
        self.check_free(4)

    def check_stationary(self, states, start):
        """Maximised as in Zucchini and MacDonald, to the printed digits."""
        printed = self.published["stationary"]
        options = {"startprob": "stationary", "max_iter": 20000, "tol": 1e-12}
        for ranks in ranks_of_reference:
            fitted = self.fit_from("poisson", self.data, start, ranks, **options)
            result = self.score(fitted, self.data, ranks)
            self.assertEqual(fitted.training["free_parameters"], states * states)
            self.assert_printed(-fitted.trace[-1], printed["minus_loglik"][str(states)], 1e-4)
            self.assert_printed(-result["total"], printed["minus_loglik"][str(states)], 1e-4)
            self.assert_printed(result["aic"], printed["AIC"][str(states)], 1e-1)
            self.assert_printed(result["bic"], printed["BIC"][str(states)], 1e-1)
            self.assert_close(fitted["startprob"] @ fitted["transmat"], fitted["startprob"], 0, absolute=1e-12)
        return fitted

    def check_stationary_states(self, states):
        golden = self.case.golden["models"][f"K{states}"]
        fitted = self.check_stationary(states, poisson_parameters(golden["EM"]["start"]))
        expected = golden["stationary_MLE"]
        # The reference stopped where the log-likelihood stood still in its eighth digit: parameters are good to half as many.
        self.assert_close(fitted["rates"].ravel(), expected["lam"], 1e-4)
        self.assert_close(fitted["transmat"], expected["A"], 0, absolute=1e-4)
        self.assert_close(fitted["startprob"], expected["delta"], 0, absolute=3e-4)
        for ranks in ranks_of_reference:
            states_of_years, _ = self.decode(fitted, self.data, ranks)
            np.testing.assert_array_equal(states_of_years, expected["viterbi_path"])
        return fitted

    def test_one_state(self):
        start = {"startprob": [1.0], "transmat": [[1.0]], "rates": [[10.0]]}

        fitted = self.check_stationary(1, start)

        self.assert_close(fitted["rates"], [[self.case.array("X").mean()]], 1e-12)
        np.testing.assert_array_equal(fitted["transmat"], [[1.0]])

    def test_two_stationary_states(self):
        fitted = self.check_stationary_states(2)

        printed = self.published["stationary"]
        self.assert_printed(fitted["rates"].ravel(), printed["lam2"], 1e-3)
        self.assert_printed(fitted["transmat"][[0, 1], [1, 0]], printed["A2_offdiag"], 1e-3)

    def test_three_stationary_states(self):
        fitted = self.check_stationary_states(3)

        printed = self.published["stationary"]
        self.assert_printed(fitted["rates"].ravel(), printed["lam3"], 1e-3)
        self.assert_printed(fitted["transmat"], printed["A3"], 1e-3)

    def test_four_stationary_states(self):
        fitted = self.check_stationary_states(4)

        self.assert_printed(fitted["rates"].ravel(), self.published["stationary"]["lam4"], 1e-3)

    def test_the_stationary_maximum_stands_still(self):
        for golden in self.case.golden["models"].values():
            expected = golden["stationary_MLE"]
            start = poisson_parameters({"pi": expected["delta"], **expected})
            fitted = self.fit_from("poisson", self.data, start, startprob="stationary", max_iter=3)
            self.assert_close(fitted.trace, -expected["minus_loglik"], 1e-7)

    def test_a_stationary_start_never_lowers_the_likelihood(self):
        start = poisson_parameters(self.case.golden["models"]["K3"]["EM"]["start"])

        fitted = self.fit_from("poisson", self.data, start, startprob="stationary", max_iter=60)

        self.assertTrue(np.all(np.diff(fitted.trace) >= -1e-9), fitted.trace)


class CategoricalReference(HmmReference):
    def test_icecream(self):
        case = Case("hmm_categorical_icecream")
        self.assertEqual(case.golden["tolerance"], "1e-12")
        golden, published = case.golden["without_stop"], case.golden["published"]["first_iteration_expected"]

        self.check("categorical", case.place("X"), golden, categorical_parameters, 1e-12)

        # Both states of the published start stop alike, so that its first M-step is that of the model without a stop.
        fitted = self.fit_from("categorical", case.place("X"), categorical_parameters(golden["start"]), max_iter=1)
        transitions = np.array([[published["CC"], published["CH"]], [published["HC"], published["HH"]]])
        emissions = np.array([published["C_emits"], published["H_emits"]])
        self.assert_close(fitted["transmat"], transitions / transitions.sum(axis=1, keepdims=True), 1e-3)
        self.assert_close(fitted["probabilities"][:, 0], emissions / emissions.sum(axis=1, keepdims=True), 1e-3)

    def test_dna(self):
        case = Case("hmm_categorical_dna")
        self.assertEqual(case.golden["tolerance"], "1e-10 rel")

        fitted = self.check("categorical", case.place("X"), case.golden, categorical_parameters, 1e-10)

        for ranks in ranks_of_reference:
            path, log_probability = self.decode(fitted, case.place("X"), ranks)
            np.testing.assert_array_equal(path, case.array("viterbi_path_theta10"))
            self.assert_close(log_probability, [case.golden["viterbi_logprob_theta10"]], 1e-10)

    def test_dna_converged(self):
        case = Case("hmm_categorical_dna")
        converged = case.golden["converged_tol1e13"]

        fitted = self.fit_from("categorical", case.place("X"), categorical_parameters(case.golden["start"]),
                               max_iter=converged["iterations"])

        self.assert_close(fitted.trace[-1], converged["loglik"], 1e-10)
        self.assert_parameters(fitted, categorical_parameters(converged), 1e-6)

    def test_umbrella(self):
        case = Case("hmm_umbrella_inference")
        golden, data = case.golden, case.place("obs")
        self.assertEqual(golden["tolerance"], "1e-13")
        start = categorical_parameters({**golden, "E": golden["emission"]})
        alpha, transitions = np.array(golden["alpha"]), np.array(golden["xi_sum"])

        for ranks in ranks_of_reference:
            fitted = self.fit_from("categorical", data, start, ranks)
            path, log_probability = self.decode(fitted, data, ranks)
            next_fitted = self.fit_from("categorical", data, start, ranks, max_iter=1)

            self.assert_close(fitted.trace, [golden["loglik"]], 1e-13)
            self.assert_close(self.score(fitted, data, ranks)["total"], golden["loglik"], 1e-13)
            self.assert_close(self.smoothed(fitted, data, ranks), golden["posterior"], 1e-13)
            self.assert_close(self.filtered(fitted, data, ranks), alpha / alpha.sum(axis=1, keepdims=True), 1e-13)
            np.testing.assert_array_equal(path, golden["viterbi_path"])
            self.assert_close(log_probability, [golden["viterbi_logprob"]], 1e-13)
            self.assert_close(next_fitted["transmat"], transitions / transitions.sum(axis=1, keepdims=True), 1e-13)
            self.assert_close(next_fitted["startprob"], golden["posterior"][0], 1e-13)
            np.testing.assert_array_equal(self.labels(fitted, data, ranks), np.argmax(golden["posterior"], axis=1))

    def test_umbrella_as_published(self):
        case = Case("hmm_umbrella_inference")
        published = case.golden["published"]
        start = categorical_parameters({**case.golden, "E": case.golden["emission"]})

        fitted = self.fit_from("categorical", case.place("obs"), start)

        self.assert_printed(fitted.trace, [published["loglik"]], 1e-4)
        self.assert_printed(self.smoothed(fitted, case.place("obs")), published["posterior"], 1e-4)
        self.assert_printed(self.decode(fitted, case.place("obs"))[1], [published["viterbi_logprob"]], 1e-3)


class GeyserReference(HmmReference):
    parameter_relative = 1e-8

    def check_geyser(self, states, shape):
        case = Case("hmm_gauss_multivariate_geyser")
        self.assertEqual(case.golden["tolerance"], "1e-10 rel trace")
        golden = case.golden["models"][f"K{states}_{shape}"]
        options = {"covariance": shape, "reg_covar": 0}

        self.check("gaussian", case.place("X"), golden, lambda theta: gaussian_parameters(theta, shape), 1e-10,
                   **options)

        # Three spherical states: a start probability that fell to 4e-24 grows back to 1.
        converged = golden["converged"]
        fitted = self.fit_from("gaussian", case.place("X"), gaussian_parameters(golden["theta"]["0"], shape),
                               max_iter=converged["iterations"], **options)
        self.assert_close(fitted.trace[-1], converged["loglik"], 1e-10)
        self.assert_parameters(fitted, {"startprob": converged["pi"], "transmat": converged["A"],
                                        "means": converged["mean"]}, 1e-6)

    def check_labels(self, states, shape):
        """Labels set the emissions; start and transitions are uniform."""
        case = Case("hmm_gauss_multivariate_geyser")
        golden = case.golden["models"][f"K{states}_{shape}"]

        fitted = self.fit_hmm("gaussian", case.place("X"), states, covariance=shape, reg_covar=0, tol=0, max_iter=0,
                              init="labels:" + case.place(f"start_labels_K{states}"))

        self.assert_parameters(fitted, gaussian_parameters(golden["theta"]["0"], shape), 1e-11)
        self.assert_close(fitted.trace, golden["loglik_trace"][:1], 1e-10)

    def test_two_states_full(self):
        self.check_geyser(2, "full")

    def test_two_states_diag(self):
        self.check_geyser(2, "diag")

    def test_two_states_tied(self):
        self.check_geyser(2, "tied")

    def test_two_states_spherical(self):
        self.check_geyser(2, "spherical")

    def test_three_states_full(self):
        self.check_geyser(3, "full")

    def test_three_states_diag(self):
        self.check_geyser(3, "diag")

    def test_three_states_tied(self):
        self.check_geyser(3, "tied")

    def test_three_states_spherical(self):
        self.check_geyser(3, "spherical")

    def test_labels_start_the_emissions(self):
        for states in (2, 3):
            for shape in ("full", "tied", "diag", "spherical"):
                with self.subTest(states=states, shape=shape):
                    self.check_labels(states, shape)


# A case whose data may not be shipped: tested where a folder with it is named, else no part of this program.
unshipped_cases = os.environ.get("TALLY_UNSHIPPED_CASES")
if unshipped_cases:
    class SpeedReference(HmmReference):
        def setUp(self):
            super().setUp()
            self.case = Case("hmm_gauss_speed", unshipped_cases)
            self.assertEqual(self.case.golden["tolerance"], "1e-10 rel trace; published digits")

        @staticmethod
        def parameters(theta):
            variances = theta.get("var", np.square(theta.get("sd", 0)))
            return {"startprob": theta["pi"], "transmat": theta["A"], "means": np.reshape(theta["mean"], (-1, 1)),
                    "covariances": np.reshape(variances, (-1, 1))}

        def check_speed(self, name, **options):
            golden = self.case.golden["models"][name]
            options = {"covariance": "diag", "reg_covar": 0, **options}
            self.check("gaussian", self.case.place("X"), golden, self.parameters, 1e-10, **options)

            fitted = self.fit_from("gaussian", self.case.place("X"), self.parameters(golden["start"]), max_iter=300,
                                   **options)
            lengths = {key: options[key] for key in options if key == "lengths"}
            result = self.score(fitted, self.case.place("X"), **lengths)
            converged = golden["converged"]
            self.assert_close(fitted.trace[-1], converged["loglik"], 1e-9)
            self.assert_parameters(fitted, self.parameters(converged), 1e-5)
            self.assert_close([result["aic"], result["bic"]], [converged["AIC"], converged["BIC"]], 1e-9)
            return fitted, result

        def test_one_series(self):
            fitted, result = self.check_speed("single_series_439")

            published = self.case.golden["published"]["single_series"]
            self.assert_printed(fitted.trace[-1], published["loglik"], 1e-2)
            self.assert_printed([result["aic"], result["bic"]], [published["AIC"], published["BIC"]], 1e-1)
            self.assert_printed(fitted["transmat"][::-1, ::-1], published["A"], 1e-3)
            mean_and_deviation = np.hstack([fitted["means"], np.sqrt(fitted["covariances"])])[::-1]
            self.assert_printed(mean_and_deviation, published["mean_sd"], 1e-3)

        def test_three_series(self):
            fitted, _ = self.check_speed("three_series_168_134_137", lengths=self.case.place("lengths"))

            self.assert_printed(fitted.trace[-1], self.case.golden["published"]["three_series_loglik"], 1e-2)

        def test_one_state(self):
            published = self.case.golden["published"]["K1"]
            start = {"startprob": [1.0], "transmat": [[1.0]], "means": [[6.0]], "covariances": [[1.0]]}

            fitted = self.fit_from("gaussian", self.case.place("X"), start, covariance="diag", reg_covar=0, max_iter=1)
            result = self.score(fitted, self.case.place("X"))

            self.assert_close(fitted.trace[-1], self.case.golden["K1_loglik"], 1e-10)
            self.assert_printed([result["aic"], result["bic"]], [published["AIC"], published["BIC"]], 1e-2)


if __name__ == "__main__":
    unittest.main()
