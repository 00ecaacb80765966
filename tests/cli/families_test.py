"""Families against EM of their definitions in 40 digits (tests/data/families.json), as mixtures and as emissions; what
they refuse; and what becomes of components that collapse."""

import json
import math
import os
import unittest

import h5py
import numpy as np

from hmm_cli import HmmTest
from tally_cli import data_folder, usage_status

# Components that hold few of forty rows: rounding of their sums is relative to their weight.
trace_relative, parameter_relative = 1e-12, 1e-10


class OfEveryFamily:
    """The tests of every family; a class of a family names it."""

    def setUp(self):
        super().setUp()
        with open(os.path.join(data_folder, "families.json"), encoding="utf-8") as file:
            self.reference = json.load(file)[self.family]

    def assert_reached(self, fitted, reference):
        self.assert_close(fitted.trace, reference["trace"], trace_relative)
        for name, expected in reference["end"].items():
            self.assert_close(fitted[name], expected, parameter_relative)

    def test_mixtures_are_those_of_the_definition(self):
        reference = self.reference["mixture"]
        data, weights = self.write_data(self.reference["x"]), self.write(w=self.reference["weights"]) + ":/w"

        for ranks in (1, 3):
            fitted = self.fit(self.family, data, 2, ranks, init=self.start(**reference["start"]), weights=weights, tol=0,
                              max_iter=len(reference["trace"]) - 1, **self.reference["options"])
            self.assert_reached(fitted, reference)

    def test_chains_are_those_of_the_definition(self):
        reference = self.reference["chain"]
        data, lengths = self.write_data(self.reference["x"]), self.write(n=self.reference["lengths"]) + ":/n"

        for ranks in (1, 2):
            fitted = self.fit_from(self.family, data, reference["start"], ranks, lengths=lengths,
                                   max_iter=len(reference["trace"]) - 1, **self.reference["options"])
            self.assert_reached(fitted, reference)

    def test_missing_steps_of_a_chain_say_nothing(self):
        x = np.array(self.reference["x"])[:20]
        missing = np.insert(x, [4, 9], np.nan, axis=0)
        start = {**self.reference["chain"]["start"], "startprob": [0.5, 0.5], "transmat": np.full((2, 2), 0.5)}

        whole = self.fit_from(self.family, self.write_data(x), start, **self.reference["options"])
        fitted = self.fit_from(self.family, self.write_data(missing), start, **self.reference["options"])

        self.assert_close(fitted.trace, whole.trace, trace_relative)

    def test_tf32_is_single_where_products_may_not_round(self):
        data = self.write_data(self.reference["x"])
        for fit, start in ((self.fit, self.reference["mixture"]["start"]), (self.fit_hmm, self.reference["chain"]["start"])):
            tf32, single = (fit(self.family, data, 2, init=self.start(**start), max_iter=2, device="generic",
                                precision=precision, **self.reference["options"]) for precision in ("tf32", "single"))
            self.assertEqual((tf32.trace == single.trace).all(), not self.rounds_products)

    def sample(self, fitted, rows):
        out = self.path()
        self.succeed("sample", fitted.file, "--rows", rows, "--out", out + ":/x", "--seed", 3)
        with h5py.File(out, "r") as file:
            return file["x"][()]

    def test_fits_of_draws_come_back_to_what_was_planted(self):
        out = self.path()
        self.succeed("generate", self.family, "--rows", 4000, "--columns", 3, "--components", 2, "--seed", 5,
                     *self.planting, "--labels", "--out", out)
        planted = out.replace(".h5", ".planted.h5")

        fitted = self.fit(self.family, out + ":/x", 2, init=f"parameters:{planted}", tol=1e-6, max_iter=300,
                          **self.generated_options())
        labels = self.labels(fitted, out + ":/x")

        with h5py.File(out, "r") as file:
            self.assertGreater((labels == file["labels"][()]).mean(), self.separated)
        with h5py.File(planted, "r") as file:
            for name in self.close:
                self.assert_close(fitted[name], file[name][()], self.close[name], absolute=0.03)
        drawn = self.sample(fitted, 20000)
        with h5py.File(out, "r") as file:
            x = file["x"][()]
        spread = x.std(axis=0) * np.sqrt(1 / len(x) + 1 / len(drawn))
        self.assertTrue((abs(drawn.mean(axis=0) - x.mean(axis=0)) < 6 * spread).all())

    planting, separated, close = ("--separation", 3), 0.8, {}
    rounds_products = True

    def generated_options(self):
        return {}

    def refuse_value(self, value, *says, **options):
        x = np.array(self.reference["x"])
        x[7, 1] = value
        words = (f"row 7, column 1 {says[0]}", *says[1:])
        for ranks in (1, 2):
            self.refuse_fit(self.family, self.write_data(x), 2, ranks, says=words, **{**self.reference["options"], **options})
        self.refuse_hmm(self.family, self.write_data(x), 2, says=words, **{**self.reference["options"], **options})
        good = self.fit(self.family, self.write_data(self.reference["x"]), 1, max_iter=1, **self.reference["options"])
        self.refuse("score", good.file, self.write_data(x), says=words)


class Exponential(OfEveryFamily, HmmTest):
    family, close = "exponential", {"rates": 0.2}

    def test_values_below_zero_are_refused(self):
        self.refuse_value(-0.5, "is negative", "takes numbers from 0 on")

    def test_components_of_zeros_have_the_smallest_mean(self):
        x = np.concatenate([np.zeros(50), np.random.default_rng(1).exponential(3, 50)])
        start = self.start(rates=[[100.0], [0.3]])

        for precision in ("double", "single"):
            fitted = self.fit("exponential", self.write_data(x), 2, init=start, tol=0, max_iter=60, precision=precision,
                              min_mean=1e-3)
            self.assert_close(fitted["rates"][0], [1e3 / x.mean()], 1e-6)
            self.assertTrue(np.isfinite(fitted.trace).all())

    def test_units_do_not_matter(self):
        x = np.array(self.reference["x"]) * [1e-200, 1e200]
        start = dict(self.reference["mixture"]["start"])
        start["rates"] = np.array(start["rates"]) * [1e200, 1e-200]
        plain = self.fit("exponential", self.write_data(self.reference["x"]), 2, tol=0, max_iter=5,
                         init=self.start(**self.reference["mixture"]["start"]))

        for precision, relative in (("double", 1e-11), ("single", 1e-3)):
            fitted = self.fit("exponential", self.write_data(x), 2, init=self.start(**start), tol=0, max_iter=5,
                              precision=precision)
            self.assert_close(fitted.trace, plain.trace, relative)  # 200 and -200 cancel
            self.assert_close(fitted["rates"] * [1e-200, 1e200], plain["rates"], relative)

    def test_starts_and_options_that_are_impossible_are_refused(self):
        data = self.write_data(self.reference["x"])
        self.refuse_fit("exponential", data, 1, says="not above 0", init=self.start(rates=[[1.0, 0.0]]))
        self.refuse_fit("exponential", data, 1, says="(1, 2) is needed", init=self.start(rates=[[1.0]]))
        self.refuse_fit("exponential", data, 1, says="--min-mean", min_mean=0, status=usage_status)


class Gamma(OfEveryFamily, HmmTest):
    family, close = "gamma", {"shapes": 0.3, "scales": 0.3}
    rounds_products = False

    def test_values_that_are_not_above_zero_are_refused(self):
        self.refuse_value(-0.5, "is negative", "takes numbers above 0")
        self.refuse_value(0, "is 0", "takes numbers above 0")

    def test_components_of_equal_values_have_the_largest_shape(self):
        x = np.concatenate([np.full(50, 7.0), np.random.default_rng(1).gamma(2, 1, 50)])
        start = self.start(shapes=[[1000.0], [2.0]], scales=[[0.007], [1.0]])

        for precision in ("double", "single"):
            fitted = self.fit("gamma", self.write_data(x), 2, init=start, tol=0, max_iter=30, precision=precision,
                              max_shape=1e4)
            self.assertEqual(fitted["shapes"][0, 0], 1e4)
            self.assert_close(fitted["shapes"] * fitted["scales"], [[7.0], [x[50:].mean()]], 0.05)
            self.assertTrue(np.isfinite(fitted.trace).all())
        constant = self.fit("gamma", self.write_data(np.full(20, 3.0)), 1, tol=0, max_iter=3)
        self.assertEqual(constant["shapes"][0, 0], 1e8)

    def test_frozen_parameters_leave_the_others_most_likely(self):
        x = np.array(self.reference["x"])[:, :1]
        of_ones = self.fit("gamma", self.write_data(x), 1, init=self.start(shapes=[[1.0]]), freeze="shapes", tol=0, max_iter=2)
        self.assert_close(of_ones["scales"].ravel(), [x.mean()], 1e-12)
        exponential = self.fit("exponential", self.write_data(x), 1, tol=0, max_iter=2)
        self.assert_close(of_ones.trace[-1], exponential.trace[-1], 1e-12)
        self.assertEqual(of_ones.training["free_parameters"], exponential.training["free_parameters"])

        of_scale = self.fit("gamma", self.write_data(x), 1, init=self.start(scales=[[2.0]]), freeze="scales", tol=0, max_iter=2)
        shape = of_scale["shapes"].item()
        slope = (math.lgamma(shape + 1e-5) - math.lgamma(shape - 1e-5)) / 2e-5
        self.assert_close(slope, np.log(x / 2).mean(), 1e-8)

    def test_units_do_not_matter(self):
        scales = np.array([1e-200, 1e200])
        start = {name: np.array(values) for name, values in self.reference["mixture"]["start"].items()}
        plain = self.fit("gamma", self.write_data(self.reference["x"]), 2, tol=0, max_iter=5, init=self.start(**start))
        start["scales"] = start["scales"] * scales

        for precision, relative in (("double", 1e-11), ("single", 1e-3)):
            fitted = self.fit("gamma", self.write_data(self.reference["x"] * scales), 2, init=self.start(**start), tol=0,
                              max_iter=5, precision=precision)
            self.assert_close(fitted.trace, plain.trace, relative)  # 200 and -200 cancel
            self.assert_close(fitted["scales"] / scales, plain["scales"], relative)


class Binomial(OfEveryFamily, HmmTest):
    family, close = "binomial", {"probabilities": 0.1}

    def generated_options(self):
        return {"trials": 10}

    def test_counts_beyond_the_trials_are_refused(self):
        self.refuse_value(13, "is above 12", "from 0 to 12")
        self.refuse_value(2.5, "is not a whole number")
        self.refuse_value(-1, "is negative")

    def test_trials_that_nobody_gave_are_the_largest_count(self):
        x = np.array(self.reference["x"])
        given = self.fit("binomial", self.write_data(x), 2, seed=1, max_iter=3, trials=int(x.max()))

        fitted = self.fit("binomial", self.write_data(x), 2, seed=1, max_iter=3)

        np.testing.assert_array_equal(fitted.trace, given.trace)
        self.assertEqual(fitted.attributes["option_trials"], str(int(x.max())))

    def test_one_trial_is_a_bit(self):
        bits = np.random.default_rng(2).integers(0, 2, (60, 4))
        for options in ({}, {"alpha": 0.5}):
            start = self.start(probabilities=[[0.25, 0.5, 0.75, 0.5], [0.5, 0.5, 0.25, 0.125]])
            expected = self.fit("bernoulli", self.write_data(bits), 2, init=start, tol=0, max_iter=5, **options)
            fitted = self.fit("binomial", self.write_data(bits), 2, init=start, tol=0, max_iter=5, trials=1, **options)
            self.assert_close(fitted.trace, expected.trace, 1e-12)
            self.assert_close(fitted["probabilities"], expected["probabilities"], 1e-12)

    def test_sure_outcomes_have_probabilities_of_zero_and_one(self):
        x = np.array([[0, 5, 2], [0, 5, 3], [0, 5, 1]])

        fitted = self.fit("binomial", self.write_data(x), 1, tol=0, max_iter=3, trials=5)

        np.testing.assert_array_equal(fitted["probabilities"][0, :2], [0, 1])
        alone = self.fit("binomial", self.write_data(x[:, 2:]), 1, tol=0, max_iter=3, trials=5)
        self.assert_close(fitted.trace[-1], alone.trace[-1], 1e-13)
        start = self.start(probabilities=[[0.5, 0.5, 0.0]])
        self.refuse_fit("binomial", self.write_data(x), 1, init=start, trials=5, says="some row is impossible")

    def test_many_trials_keep_their_digits(self):
        trials = 2**31 - 1
        x = np.array([[trials // 2], [trials // 2 + 40000], [trials // 2 - 70000]])

        fitted = self.fit("binomial", self.write_data(x), 1, tol=0, max_iter=1, trials=trials)

        mean = (x / trials).mean()
        self.assert_close(fitted["probabilities"].item(), mean, 1e-14)
        normal = -0.5 * np.log(2 * np.pi * trials * mean * (1 - mean)) - (x - x.mean())**2 / (2 * trials * mean * (1 - mean))
        self.assert_close(fitted.trace[-1], normal.sum(), 1e-8)  # off by less than 1 / trials

    def test_impossible_numbers_of_trials_are_refused(self):
        data = self.write_data(self.reference["x"])
        for trials in (0, 2.5, 2**31 + 1):
            self.refuse_fit("binomial", data, 1, trials=trials, status=usage_status, says="--trials")


class Multinomial(OfEveryFamily, HmmTest):
    family, close = "multinomial", {"probabilities": 0.1}
    planting = ("--separation", 3, "--trials", 60)

    def test_what_is_no_count_is_refused(self):
        self.refuse_value(-1, "is negative")
        self.refuse_value(2.5, "is not a whole number")

    def test_one_count_is_a_symbol(self):
        symbols = np.random.default_rng(2).integers(0, 4, 60)
        probabilities = np.array([[0.25, 0.5, 0.125, 0.125], [0.5, 0.125, 0.125, 0.25]])
        expected = self.fit("categorical", self.write_data(symbols), 2, tol=0, max_iter=5,
                            init=self.start(probabilities=probabilities[:, None, :]))

        fitted = self.fit("multinomial", self.write_data(np.eye(4)[symbols]), 2, tol=0, max_iter=5,
                          init=self.start(probabilities=probabilities))

        self.assert_close(fitted.trace, expected.trace, 1e-12)
        self.assert_close(fitted["probabilities"], expected["probabilities"][:, 0], 1e-12)

    def test_rows_and_columns_of_zeros_say_nothing(self):
        x = np.array(self.reference["x"])
        start = self.reference["mixture"]["start"]
        wide = np.insert(np.insert(x, 5, 0.0, axis=0), 2, 0.0, axis=1)
        probabilities = np.insert(np.array(start["probabilities"]) * 0.75, 2, 0.25, axis=1)

        fitted = self.fit("multinomial", self.write_data(wide), 1, tol=0, max_iter=3,
                          init=self.start(probabilities=probabilities[:1]))
        expected = self.fit("multinomial", self.write_data(x), 1, tol=0, max_iter=3,
                            init=self.start(probabilities=start["probabilities"][:1]))

        self.assertEqual(fitted["probabilities"][0, 2], 0)
        self.assert_close(np.delete(fitted["probabilities"], 2, axis=1), expected["probabilities"], 1e-14)
        self.assert_close(fitted.trace[1:], expected.trace[1:], 1e-13)
        self.refuse_fit("multinomial", self.write_data(x), 1, says="some row is impossible",
                        init=self.start(probabilities=[[0.0, 0.5, 0.25, 0.25]]))

    def test_counts_added_to_every_column_are_a_prior(self):
        fitted = self.fit("multinomial", self.write_data([[3.0, 0, 1], [1, 0, 1]]), 1, tol=0, max_iter=1, alpha=0.5)

        self.assert_close(fitted["probabilities"][0], np.array([4.5, 0.5, 2.5]) / 7.5, 1e-14)

    def test_starts_that_do_not_sum_to_one_are_refused(self):
        data = self.write_data(self.reference["x"])
        self.refuse_fit("multinomial", data, 1, says="of component 0, not to 1", init=self.start(probabilities=[[0.5, 0.2, 0.2, 0.2]]))

    def test_draws_have_the_number_of_trials(self):
        x = np.array(self.reference["x"])
        fitted = self.fit("multinomial", self.write_data(x), 2, max_iter=3)
        self.assertEqual(fitted.attributes["option_trials"], str(round(x.sum(axis=1).mean())))
        self.assertEqual(set(self.sample(fitted, 50).sum(axis=1)), {round(x.sum(axis=1).mean())})
        more = self.fit("multinomial", self.write_data(x), 2, max_iter=3, trials=1000)
        self.assertEqual(set(self.sample(more, 50).sum(axis=1)), {1000})


class VonMisesFisher(OfEveryFamily, HmmTest):
    family, close = "von-mises-fisher", {"mean_directions": 0.1, "concentrations": 0.2}
    planting = ("--separation", 8)
    rounds_products = False

    def test_rows_of_another_length_are_refused(self):
        x = np.array(self.reference["x"])
        x[7] *= 1.001
        for ranks in (1, 2):
            self.refuse_fit("von-mises-fisher", self.write_data(x), 2, ranks, says=("row 7 is no vector of length 1", "divide each row"))
        x[7] = 0
        self.refuse_hmm("von-mises-fisher", self.write_data(x), 2, says="row 7 is no vector of length 1")
        fitted = self.fit("von-mises-fisher", self.write_data(self.reference["x"]), 1, max_iter=1)
        self.refuse("score", fitted.file, self.write_data(x), says="row 7 is no vector of length 1")
        self.refuse_fit("von-mises-fisher", self.write_data(np.ones(5)), 1, status=usage_status, says="two columns")
        x = np.array(self.reference["x"]).astype("f4")
        self.fit("von-mises-fisher", self.write_data(x), 2, max_iter=2)

    def test_equal_rows_have_the_largest_concentration(self):
        x = np.tile([0.6, 0.8], (30, 1))

        for precision in ("double", "single"):
            fitted = self.fit("von-mises-fisher", self.write_data(x), 1, tol=0, max_iter=3, precision=precision, max_concentration=1e4)
            self.assertEqual(fitted["concentrations"][0], 1e4)
            self.assert_close(fitted["mean_directions"][0], [0.6, 0.8], 1e-6)
            self.assertTrue(np.isfinite(fitted.trace).all())
        self.assertEqual(self.fit("von-mises-fisher", self.write_data(x), 1, max_iter=3)["concentrations"][0], 1e8)

    def test_opposite_rows_are_uniform(self):
        x = np.array([[0.6, 0.8, 0], [-0.6, -0.8, 0]] * 10)

        fitted = self.fit("von-mises-fisher", self.write_data(x), 1, tol=0, max_iter=2, init=self.start(mean_directions=[[0, 0, 1.0]]))

        self.assertEqual(fitted["concentrations"][0], 0)
        np.testing.assert_array_equal(fitted["mean_directions"][0], [0, 0, 1])
        self.assert_close(fitted.trace[-1], -20 * np.log(4 * np.pi), 1e-13)

    def test_many_columns_and_narrow_components_keep_their_digits(self):
        # Narrow about an axis the other coordinates are normal with the variance 1 / concentration.
        random = np.random.default_rng(4)
        x = np.concatenate([np.ones((400, 1)), random.normal(scale=1e-3, size=(400, 300))], axis=1)
        x /= np.linalg.norm(x, axis=1, keepdims=True)

        fitted = self.fit("von-mises-fisher", self.write_data(x), 1, tol=0, max_iter=2)

        self.assert_close(fitted["concentrations"][0], 1e6, 0.02)
        kappa, mean = fitted["concentrations"][0], fitted["mean_directions"][0]
        normal = 150 * np.log(kappa / (2 * np.pi)) - kappa / 2 * ((x - mean)**2).sum(axis=1)
        self.assert_close(fitted.trace[-1], normal.sum(), 1e-4)

    def test_frozen_directions_and_concentrations_stay(self):
        data = self.write_data(self.reference["x"])
        start = self.start(mean_directions=[[0, 0.6, 0.8]], concentrations=[3.0])
        directions = self.fit("von-mises-fisher", data, 1, init=start, freeze="mean_directions", tol=0, max_iter=2)
        concentrations = self.fit("von-mises-fisher", data, 1, init=start, freeze="concentrations", tol=0, max_iter=2)

        mean = np.array(self.reference["x"]).mean(axis=0)
        self.assert_close(concentrations["mean_directions"][0], mean / np.linalg.norm(mean), 1e-12)
        self.assertEqual(concentrations["concentrations"][0], 3)
        along = max(mean @ [0, 0.6, 0.8], 0)
        kappa = directions["concentrations"][0]
        self.assert_close(1 / np.tanh(kappa) - 1 / kappa if kappa else 0, along, 1e-9, absolute=1e-9)


class StudentT(OfEveryFamily, HmmTest):
    family, close = "student-t", {"means": 0.05, "scales": 0.3, "degrees_of_freedom": 0.3}
    planting = ("--separation", 6)

    def test_normal_components_are_those_of_many_degrees_of_freedom(self):
        x, start = np.array(self.reference["x"]), dict(self.reference["mixture"]["start"])
        degrees = start.pop("degrees_of_freedom")
        for covariance, of_full in (("full", lambda s: s), ("diag", lambda s: np.diagonal(s, axis1=1, axis2=2)),
                                    ("spherical", lambda s: s[:, 0, 0])):
            scales = of_full(np.array(start["scales"]))
            shared = {"covariance": covariance, "reg_covar": 0, "tol": 0, "max_iter": 4}
            of_gmm = {"weights": start["weights"], "means": start["means"]}
            normal = self.fit("gmm", self.write_data(x), 2, init=self.start(**of_gmm, covariances=scales), **shared)
            fitted = self.fit("student-t", self.write_data(x), 2, freeze="degrees_of_freedom", **shared,
                              init=self.start(**{**start, "scales": scales}, degrees_of_freedom=np.full(2, 1e12)))
            self.assert_close(fitted.trace, normal.trace, 1e-9)
            self.assert_close(fitted["scales"], normal["covariances"], 1e-8)
            self.assertEqual(fitted.training["free_parameters"], normal.training["free_parameters"])
            free = self.fit("student-t", self.write_data(x), 2, **shared,
                            init=self.start(**{**start, "scales": scales}, degrees_of_freedom=degrees))
            self.assertTrue((np.diff(free.trace) > 0).all())

    def test_rows_far_out_pull_nothing(self):
        x = np.random.default_rng(3).normal(size=(400, 2))
        clean = self.fit("student-t", self.write_data(x), 1, tol=1e-9, max_iter=500)
        for precision in ("double", "single"):
            far = self.fit("student-t", self.write_data(np.concatenate([x, [[1e4, -1e4], [-1e5, 3e4]]])), 1, tol=1e-9, max_iter=500,
                           precision=precision)
            self.assertLess(far["degrees_of_freedom"][0], 5)
            self.assert_close(far["means"], clean["means"], 0, absolute=0.05)
            self.assertTrue((np.diagonal(far["scales"][0]) < 1.2).all())
        self.assertGreater(clean["degrees_of_freedom"][0], 20)

    def test_rows_of_a_normal_distribution_have_the_most_degrees_of_freedom(self):
        x = np.sign(np.random.default_rng(5).normal(size=(200, 3)))  # tails lighter than normal ones

        for precision in ("double", "single"):
            fitted = self.fit("student-t", self.write_data(x), 1, tol=0, max_iter=200, max_degrees=100, precision=precision)
            self.assertEqual(fitted["degrees_of_freedom"][0], 100)
            self.assertTrue(np.isfinite(fitted.trace).all())

    def test_labels_say_nothing_about_degrees_of_freedom(self):
        x = np.array(self.reference["x"])
        labels = self.write(labels=(x[:, 0] > 1.5).astype(int)) + ":/labels"

        fitted = self.fit("student-t", self.write_data(x), 2, init=f"labels:{labels}", tol=0, max_iter=0)

        np.testing.assert_array_equal(fitted["degrees_of_freedom"], [10, 10])

    def test_starts_and_options_that_are_impossible_are_refused(self):
        data = self.write_data(self.reference["x"])
        self.refuse_fit("student-t", data, 1, says="within 0.01 to 1e12", init=self.start(degrees_of_freedom=[0.0]))
        self.refuse_fit("student-t", data, 1, says="--max-degrees", max_degrees=0.5, status=usage_status)
        self.refuse_fit("student-t", data, 1, says="full, diag or spherical", covariance="tied", status=usage_status)


if __name__ == "__main__":
    unittest.main()
