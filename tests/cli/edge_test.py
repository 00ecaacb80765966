"""Inputs at the edge through the command line: each gives the value that edge.json states, or one clear error."""

import json
import unittest

import h5py
import numpy as np

from tally_cli import Case, EdgeInput, TallyTest, usage_status

all_ranks = (1, 3)


class KMeansEdge(TallyTest):
    def test_every_distinct_row_a_centre_leaves_no_inertia(self):
        edge = EdgeInput("kmeans_duplicates_k_eq_unique")
        start = self.start(centers=edge.array("start"))

        fitted = self.fit("kmeans", edge.place(), 10, init=start, tol=0)
        labels = self.labels(fitted, edge.place())

        self.assertLessEqual(fitted.trace[-1], edge.tolerance)
        np.testing.assert_array_equal(np.bincount(labels), edge.reference["sizes"])

    def test_clusters_without_rows_keep_their_centres(self):
        data = EdgeInput("kmeans_duplicates_k_eq_unique").place()
        edge = EdgeInput("kmeans_duplicates_k_gt_unique")
        centers = edge.array("start")

        fitted = self.fit("kmeans", data, 12, init=self.start(centers=centers), tol=0)
        labels = self.labels(fitted, data)

        self.assertEqual(len(np.unique(labels)), edge.reference["nonempty"])
        self.assertLess(labels.max(), 10)
        self.assertLessEqual(fitted.trace[-1], edge.tolerance)
        self.assert_close(fitted["centers"], centers, 0, absolute=1e-13)

    def test_seeding_survives_when_every_row_is_a_seed(self):
        data = EdgeInput("kmeans_duplicates_k_eq_unique").place()

        for ranks in all_ranks:
            fitted = self.fit("kmeans", data, 12, ranks, init="k-means++", tol=0)
            self.assertTrue(np.all(np.isfinite(fitted["centers"])))

    def test_identical_rows_have_no_inertia(self):
        edge = EdgeInput("kmeans_all_identical")

        for components in (1, 3):
            fitted = self.fit("kmeans", edge.place(), components)
            self.assertEqual(fitted.trace[-1], edge.reference["k1_inertia"])
            self.assertTrue(np.all(np.isfinite(fitted["centers"])))

    def test_identical_rows_are_singular_without_a_ridge(self):
        edge = EdgeInput("kmeans_all_identical")

        for ranks in all_ranks:
            self.refuse_fit("gmm", edge.place(), 1, ranks, reg_covar=0, says="singular in column 0")

    def test_identical_rows_under_a_ridge(self):
        edge = EdgeInput("kmeans_all_identical")

        fitted = self.fit("gmm", edge.place(), 1, reg_covar=1e-6, covariance="diag", max_iter=1, tol=0)

        self.assert_close(fitted.trace[-1], edge.reference["gmm_K1_reg1e6_loglik"], edge.tolerance)

    def test_ties_go_to_the_lowest_index(self):
        edge = EdgeInput("kmeans_ties")
        start = self.start(centers=edge.array("start"))

        for ranks in all_ranks:
            before = self.fit("kmeans", edge.place(), 2, ranks, init=start, max_iter=0)
            after = self.fit("kmeans", edge.place(), 2, ranks, init=start, max_iter=1, tol=0)
            np.testing.assert_array_equal(self.labels(before, edge.place(), ranks), edge.reference["labels"])
            self.assertEqual(before.trace[0], edge.reference["inertia_at_start"])
            np.testing.assert_allclose(after["centers"], edge.reference["new_centers"], rtol=1e-15)

    def test_fewer_rows_than_components_are_refused(self):
        edge = EdgeInput("kmeans_n_lt_k")

        for ranks in all_ranks:
            for model in ("kmeans", "gmm", "poisson"):
                self.refuse_fit(model, edge.place(), 5, ranks, says=("3 rows", "5 components"))

    def test_as_many_rows_as_components(self):
        edge = EdgeInput("kmeans_n_eq_k")
        rows = edge.array()

        fitted = self.fit("kmeans", edge.place(), 3, init=self.start(centers=rows), tol=0)

        self.assertEqual(fitted.trace[-1], edge.reference["inertia"])
        np.testing.assert_array_equal(fitted["centers"], rows)
        self.refuse_fit("gmm", edge.place(), 3, reg_covar=0, says="singular")

    def test_every_type_and_layout_of_file_gives_the_same_trace(self):
        case = Case("kmeans_digits_k10")
        rows = case.array("X")
        start = self.start(centers=case.array("start_centers"))
        path = self.path()
        kinds = {"u1": "u1", "i2": "<i2", "i8": "<i8", "f4": "<f4", "big": ">f8", "f8": "<f8"}
        with h5py.File(path, "w") as file:
            for name, kind in kinds.items():
                file[name] = rows.astype(kind)
            file.create_dataset("chunked", data=rows, chunks=(100, 7), compression="gzip", shuffle=True)

        for name in (*kinds, "chunked"):
            with self.subTest(name):
                fitted = self.fit("kmeans", f"{path}:/{name}", 10, init=start, tol=0, max_iter=100)
                self.assert_close(fitted.trace, case.golden["inertia_trace"], 1e-11)

    def test_squares_beyond_the_range_of_doubles_are_refused(self):
        edge = EdgeInput("overflow_1e160")
        start = self.start(centers=edge.array()[:2])

        for ranks in all_ranks:
            self.refuse_fit("kmeans", edge.place(), 2, ranks, init=start, says="overflows")

    def test_a_gaussian_mixture_does_not_mind_squares_beyond_the_range(self):
        edge = EdgeInput("overflow_1e160")
        unscaled = Case("gmm_faithful_k2")
        options = {"init": "labels:" + unscaled.place("start_labels"), "reg_covar": 0, "max_iter": 5, "tol": 0}
        shift = -272 * 2 * 160 * np.log(10)

        expected = self.fit("gmm", unscaled.place("X"), 2, **options)
        fitted = self.fit("gmm", edge.place(), 2, **options)

        self.assert_close(fitted.trace, expected.trace + shift, 1e-10)


class GaussianEdge(TallyTest):
    def test_one_component_has_a_closed_form(self):
        edge = EdgeInput("gmm_K1_closed_form")
        data = Case("gmm_faithful_k2").place("X")

        for ranks in all_ranks:
            fitted = self.fit("gmm", data, 1, ranks, init=self.start(means=[[1.0, 2.0]]), reg_covar=0, tol=0,
                              max_iter=1)
            self.assert_close(fitted["means"][0], np.array(edge.reference["mean"], float), edge.tolerance)
            self.assert_close(fitted["covariances"][0], np.array(edge.reference["cov"], float), edge.tolerance)
            self.assert_close(fitted.trace[-1], float(edge.reference["loglik"]), edge.tolerance)

    def test_a_single_row(self):
        data = EdgeInput("single_row").place()

        for ranks in all_ranks:
            self.assertEqual(self.fit("kmeans", data, 1, ranks).trace[-1], 0)
            self.refuse_fit("gmm", data, 1, ranks, reg_covar=0, says="singular")
            fitted = self.fit("gmm", data, 1, ranks, reg_covar=1e-6)
            self.assertTrue(np.all(np.isfinite(fitted.trace)))

    def test_tiny_data_shift_the_log_likelihood_alone(self):
        edge = EdgeInput("tiny_scale_1e-6")
        init = "labels:" + edge.place("start_labels")

        for ranks in all_ranks:
            fitted = self.fit("gmm", edge.place(), 2, ranks, init=init, reg_covar=0, max_iter=0)
            self.assert_close(fitted.trace[0], float(edge.reference["gmm_full_loglik_theta0"]), edge.tolerance)

    def test_a_ridge_that_swamps_the_data_is_warned_of(self):
        edge = EdgeInput("tiny_scale_1e-6")
        out = self.path()

        process = self.succeed("fit", "gmm", edge.place(), "--components", 2, "--reg-covar", 1e-6, "--out", out)

        self.assertIn("warning: reg-covar", process.stderr)

    def check_ridged(self, name, shape, key):
        edge = EdgeInput(name)
        init = "labels:" + edge.place("start_labels")
        for ranks in all_ranks:
            fitted = self.fit("gmm", edge.place(), 3, ranks, init=init, covariance=shape, reg_covar=1e-6, tol=0,
                              max_iter=len(edge.reference[key]) - 1)
            self.assert_close(fitted.trace, edge.reference[key], edge.tolerance)

    def test_a_constant_column_under_a_ridge(self):
        self.check_ridged("constant_column", "full", "full_reg1e6")
        self.check_ridged("constant_column", "diag", "diag_reg1e6")

    def test_a_constant_column_is_named_without_a_ridge(self):
        edge = EdgeInput("constant_column")
        init = "labels:" + edge.place("start_labels")

        for ranks in all_ranks:
            for shape in ("full", "tied", "diag"):
                self.refuse_fit("gmm", edge.place(), 3, ranks, init=init, covariance=shape, reg_covar=0,
                                says="singular in column 4")

    def test_collinear_columns_under_a_ridge(self):
        self.check_ridged("collinear_columns", "full", "full_reg1e6")

    def test_collinear_columns_are_refused_without_a_ridge(self):
        edge = EdgeInput("collinear_columns")
        init = "labels:" + edge.place("start_labels")

        for shape in ("full", "tied"):
            self.refuse_fit("gmm", edge.place(), 3, init=init, covariance=shape, reg_covar=0,
                            says="singular in column 4")

    def test_values_that_are_not_finite_are_refused_by_row_and_column(self):
        for name in ("input_nan", "input_posinf", "input_neginf"):
            for ranks in all_ranks:
                for model in ("gmm", "kmeans"):
                    self.refuse_fit(model, EdgeInput(name).place(), 3, ranks,
                                    says=(f"edge/data.h5:/{name}/X", "row 77", "column 2"))

    def test_rows_far_from_every_component(self):
        edge = EdgeInput("outlier_1e3_sigma")
        start = self.start(weights=[0.5, 0.5], means=[[-1.0], [1.0]], covariances=[[[1.0]], [[1.0]]])

        for x, expected, second in zip(edge.reference["x"], edge.reference["loglik_each"],
                                       edge.reference["resp_component2"]):
            with self.subTest(x=x):
                data = self.write_data([[x], [x]])
                fitted = self.fit("gmm", data, 2, init=start, max_iter=0)
                self.assert_close(fitted.trace[0] / 2, float(expected), edge.tolerance)
                self.assertEqual(self.probabilities(fitted, data)[0, 1], second)

    def test_outliers_beside_each_other(self):
        edge = EdgeInput("outlier_1e3_sigma")
        start = self.start(weights=[0.5, 0.5], means=[[-1.0], [1.0]], covariances=[[[1.0]], [[1.0]]])
        data = self.write_data(np.reshape(edge.reference["x"], (-1, 1)))
        expected = [float(value) for value in edge.reference["loglik_each"]]

        for ranks in all_ranks:
            fitted = self.fit("gmm", data, 2, ranks, init=start, max_iter=0)
            self.assert_close(fitted.trace[0], sum(expected), edge.tolerance)
        np.testing.assert_array_equal(self.probabilities(fitted, data)[:, 1], edge.reference["resp_component2"])

    def test_a_determinant_below_the_range_of_doubles(self):
        edge = EdgeInput("logdet_underflow_d1000")
        variances = edge.array("var")
        start = self.start(means=np.zeros((1, 1000)), covariances=variances[None, :])

        fitted = self.fit("gmm", self.write_data(np.zeros((1, 1000))), 1, covariance="diag", init=start, max_iter=0)

        self.assert_close(fitted.trace[0], float(edge.reference["logpdf"]), edge.tolerance)

    def test_an_ill_conditioned_covariance(self):
        edge = EdgeInput("hilbert_cov_8")
        hilbert = 1.0 / (np.arange(8)[:, None] + np.arange(8)[None, :] + 1.0)
        start = self.start(means=np.zeros((1, 8)), covariances=hilbert[None])

        fitted = self.fit("gmm", self.write_data(np.ones((1, 8))), 1, init=start, max_iter=0)

        self.assert_close(fitted.trace[0], float(edge.reference["logpdf"]), edge.tolerance)

    def test_a_component_that_collapses_is_named(self):
        edge = EdgeInput("component_collapse")
        init = "labels:" + edge.place("start_labels")

        for ranks in all_ranks:
            for shape in ("full", "diag", "spherical"):
                self.refuse_fit("gmm", edge.place(), 2, ranks, init=init, covariance=shape, reg_covar=0,
                                says=("component 1", "singular"))
            fitted = self.fit("gmm", edge.place(), 2, ranks, init=init, reg_covar=1e-3)
            self.assertTrue(np.all(np.isfinite(fitted["means"])))

    def test_a_weight_is_that_many_copies(self):
        edge = EdgeInput("weights_zero_and_integer")
        rows, weights = edge.array("X"), edge.array("w")
        labels = (Case("gmm_faithful_k2").array("X")[:, 0] >= 3).astype(int)
        copied = np.repeat(rows, weights.astype(int), axis=0)
        options = {"reg_covar": 0, "tol": 0, "max_iter": 10}
        init = "labels:" + self.write_data(labels)
        init_copied = "labels:" + self.write_data(np.repeat(labels, weights.astype(int)))

        for ranks in all_ranks:
            weighted = self.fit("gmm", edge.place("X"), 2, ranks, weights=edge.place("w"), init=init, **options)
            self.assert_close(weighted.trace, edge.reference["gmm_full_loglik_trace"], edge.tolerance)
            self.assertEqual(weighted.training["total_weight"], edge.reference["n_effective"])
        replicated = self.fit("gmm", self.write_data(copied), 2, init=init_copied, **options)
        self.assert_close(weighted.trace, replicated.trace, edge.tolerance)

    def test_rows_of_weight_zero_have_no_influence_whatever_they_hold(self):
        edge = EdgeInput("weights_zero_and_integer")
        rows, weights = edge.array("X"), edge.array("w")
        rows[weights == 0] = 1e300
        labels = "labels:" + self.write_data((Case("gmm_faithful_k2").array("X")[:, 0] >= 3).astype(int))

        for ranks in all_ranks:
            fitted = self.fit("gmm", self.write_data(rows), 2, ranks, weights=edge.place("w"), init=labels, reg_covar=0,
                              tol=0, max_iter=10)
            self.assert_close(fitted.trace, edge.reference["gmm_full_loglik_trace"], edge.tolerance)

    def test_rows_of_weight_zero_may_not_be_nan(self):
        edge = EdgeInput("weights_zero_and_integer")
        rows = edge.array("X")
        row = int(np.flatnonzero(edge.array("w") == 0)[1])
        rows[row, 1] = np.nan

        self.refuse_fit("gmm", self.write_data(rows), 2, weights=edge.place("w"), says=(f"row {row}", "column 1"))


class PoissonEdge(TallyTest):
    def test_a_component_of_zeros_has_rate_zero(self):
        edge = EdgeInput("poisson_all_zero_component")
        init = "labels:" + self.write_data((edge.array() > 0).astype(int))

        for ranks in all_ranks:
            fitted = self.fit("poisson", edge.place(), 2, ranks, init=init, max_iter=0)
            self.assert_close(fitted.trace[0], float(edge.reference["loglik_theta0"]), edge.tolerance)
            self.assertEqual(fitted["rates"][0, 0], 0)
            self.assert_close(fitted["rates"][1, 0], edge.reference["lam"][1], edge.tolerance)
        fitted = self.fit("poisson", edge.place(), 2, init=init, max_iter=20, tol=0)
        self.assertTrue(np.all(np.isfinite(fitted.trace)))
        self.assertTrue(np.all(np.diff(fitted.trace) >= -1e-9))

    def test_starts_leave_room_for_counts_that_the_sample_does_not_show(self):
        x = np.zeros((60000, 2), dtype=np.int64)
        x[:, 0] = np.arange(60000) % 7
        x[43210, 1] = 1
        data = self.write_data(x)

        for init in ("kmeans", "k-means++", "random", "random-from-data"):
            with self.subTest(init=init):
                fitted = self.fit("poisson", data, 2, init=init, max_iter=3)
                self.assertTrue(np.all(fitted.trace > -1e7))

    def check_count(self, x, rate, expected, relative):
        data = self.write_data(np.array([x], dtype=np.int64))
        fitted = self.fit("poisson", data, 1, init=self.start(rates=[[rate]]), max_iter=0)
        self.assert_close(fitted.trace[0], float(expected), relative)

    def test_large_counts(self):
        edge = EdgeInput("poisson_large_counts")

        for x, expected in zip(edge.reference["x"], edge.reference["logpmf"]):
            with self.subTest(x=x):
                self.check_count(x, 1e6, expected, edge.tolerance)

    def test_counts_beyond_32_bits(self):
        edge = EdgeInput("poisson_large_counts")

        for x, expected in zip(edge.reference["big_x"], edge.reference["big_logpmf_lambda_eq_x"]):
            with self.subTest(x=x):
                self.check_count(x, float(x), expected, edge.tolerance)

    def test_what_is_no_count_is_refused_by_row(self):
        edge = EdgeInput("poisson_negative_or_fractional")
        rows = edge.array()
        bad = int(np.flatnonzero((rows < 0) | (rows != np.floor(rows)))[0])

        for ranks in all_ranks:
            self.refuse_fit("poisson", edge.place(), 1, ranks, says=f"row {bad}")

    def test_a_single_row(self):
        edge = EdgeInput("single_row")

        fitted = self.fit("poisson", edge.place(), 1, max_iter=1, tol=0)

        self.assertEqual(fitted["rates"][0, 0], 7)
        self.assert_close(fitted.trace[-1], edge.reference["poisson_x7_loglik"], edge.tolerance)


class SymbolsEdge(TallyTest):
    models = ("bernoulli", "categorical")

    def ones(self, fitted):
        """The probability of a 1 in each column (K, D)."""
        return fitted["probabilities"].reshape(len(fitted["weights"]), -1, 2)[:, :, 1] \
            if fitted.attributes["model"] == "categorical" else fitted["probabilities"]

    def test_constant_columns_contribute_exactly_nothing(self):
        edge = EdgeInput("bernoulli_constant_columns")
        varying = self.write_data(edge.array()[:, 2:])

        for model in self.models:
            for ranks in all_ranks:
                fitted = self.fit(model, edge.place(), 1, ranks, max_iter=2, tol=0)
                np.testing.assert_array_equal(self.ones(fitted), [[0, 1, 0.5]])
                alone = self.fit(model, varying, 1, ranks, max_iter=2, tol=0)
                self.assertEqual(fitted.trace[-1], alone.trace[-1])
                self.assert_close(fitted.trace[-1], -10 * np.log(2), 1e-15)

    def test_a_pattern_that_was_not_seen_scores_minus_infinity(self):
        data = EdgeInput("bernoulli_constant_columns").place()
        unseen = self.write_data(np.array([[0, 1, 0], [1, 1, 0], [0, 0, 1]]))

        for model in self.models:
            for precision in ("double", "single"):
                fitted = self.fit(model, data, 2, init="random", precision=precision)
                out = self.path()
                words = ("--json", "--per-row", out, "--precision", precision)
                score = json.loads(self.succeed("score", fitted.file, unseen, *words).stdout)
                self.assertEqual(score["impossible_rows"], 2)
                with h5py.File(out, "r") as file:
                    self.assertTrue(np.isfinite(file["score"][0]))
                    np.testing.assert_array_equal(file["score"][1:], [-np.inf, -np.inf])

    def test_structural_zeros_stay_exactly_zero(self):
        symbols = self.write_data(np.array([0, 1, 0, 2, 1, 0, 0, 1, 2, 1]))
        start = self.start(weights=[0.5, 0.5], probabilities=[[0.75, 0.25, 0], [0, 0.5, 0.5]])

        for ranks in all_ranks:
            fitted = self.fit("categorical", symbols, 2, ranks, init=start, max_iter=30, tol=0)
            self.assertTrue(np.all(np.isfinite(fitted.trace)))
            np.testing.assert_array_equal(fitted["probabilities"][:, 0] == 0, [[False, False, True], [True, False, False]])

    def test_starts_leave_room_for_symbols_that_the_sample_does_not_show(self):
        x = np.zeros((60000, 2), dtype=np.int64)
        x[:, 0] = np.arange(60000) % 7 % 2
        x[43210, 1] = 1
        data = self.write_data(x)

        for model in self.models:
            for init in ("kmeans", "k-means++", "random", "random-from-data"):
                with self.subTest(model=model, init=init):
                    fitted = self.fit(model, data, 2, init=init, max_iter=3)
                    self.assertTrue(np.all(np.isfinite(fitted.trace)))

    def test_what_is_no_symbol_is_named(self):
        good, edge = self.write_data(np.array([0, 1, 2, 2, 1])), EdgeInput("hmm_unseen_symbol")
        fitted = self.fit("categorical", good, 1)
        self.assertEqual(fitted["probabilities"].shape, (1, 1, 3))
        self.assertEqual(fitted.attributes["option_symbols"], "3")
        above = edge.place() + " row 2, column 0 is above 2"

        for ranks in all_ranks:
            self.refuse_fit("categorical", edge.place(), 1, ranks, says="row 3, column 0 is negative")
            self.refuse_fit("categorical", edge.place(), 1, ranks, symbols=3, says=(above, "from 0 to 2"))
            for command in ("score", "predict"):
                out = ["--out", self.path()] if command == "predict" else []
                self.refuse(command, fitted.file, edge.place(), *out, ranks=ranks, says=(above, "from 0 to 2"))
            self.refuse_fit("bernoulli", good, 1, ranks, says=("row 2, column 0 is above 1", "from 0 to 1"))
            self.refuse_fit("bernoulli", self.write_data(np.array([1, 0, 0.5])), 1, ranks,
                            says="row 2, column 0 is not a whole number")

    def test_symbols_may_be_more_than_the_data_show(self):
        data = self.write_data(np.array([0, 1, 2, 2, 1, 0]))

        fitted = self.fit("categorical", data, 1, symbols=5, alpha=0.5, max_iter=1, tol=0)

        self.assert_close(fitted["probabilities"][0, 0], np.array([2.5, 2.5, 2.5, 0.5, 0.5]) / 8.5, 1e-15)

    def test_options_that_make_no_sense_are_refused(self):
        data = self.write_data(np.array([0, 1, 1]))

        for symbols in (0, 1.5, -2, 2**20 + 1):
            self.refuse_fit("categorical", data, 1, symbols=symbols, status=usage_status, says="--symbols")
        for model in self.models:
            self.refuse_fit(model, data, 1, alpha=-1.0, status=usage_status, says="--alpha")

    def test_draws_follow_the_model_and_a_fit_resumes(self):
        start = self.start(weights=[0.25, 0.75], probabilities=[[[0.5, 0.5, 0], [0, 0.1, 0.9]], [[0, 0.5, 0.5], [1, 0, 0]]])
        model = self.fit("categorical", self.write_data(np.array([[0, 1], [1, 2], [1, 0]])), 2, init=start, max_iter=0)
        drawn = self.path()
        self.succeed("sample", model.file, "--rows", 20000, "--out", drawn)
        with h5py.File(drawn, "r") as file:
            x = file["x"][()]
        expected = np.array([[0.125, 0.5, 0.375], [0.75, 0.025, 0.225]])
        for d in range(2):
            self.assert_close(np.bincount(x[:, d].astype(int), minlength=3) / 20000, expected[d], 0, absolute=0.02)

        folder, data = self.path(""), drawn + ":/x"
        whole = self.fit("categorical", data, 2, init=start, max_iter=6, tol=0)
        self.fit("categorical", data, 2, init=start, max_iter=3, tol=0, checkpoint=folder)
        resumed = self.fit("categorical", data, 2, ranks=2, init=start, max_iter=6, tol=0, checkpoint=folder, resume=True)
        np.testing.assert_array_equal(resumed.trace, whole.trace)
        np.testing.assert_array_equal(resumed["probabilities"], whole["probabilities"])


class GenericEdge(TallyTest):
    def test_data_without_rows_or_columns_are_refused(self):
        empty = EdgeInput("empty_dataset").place()
        no_columns = self.write_data(np.zeros((3, 0)))

        for ranks in all_ranks:
            for model in ("kmeans", "gmm", "poisson"):
                self.refuse_fit(model, empty, 1, ranks, says="no rows")
                self.refuse_fit(model, no_columns, 1, ranks, says="no columns")

    def test_an_empty_file_is_refused(self):
        path = self.path()
        with open(path, "wb"):
            pass

        for ranks in all_ranks:
            self.refuse_fit("gmm", path + ":/x", 1, ranks, says=path)

    def test_moments_of_integers_do_not_depend_on_ranks_and_threads(self):
        edge = EdgeInput("exact_integer_moments")
        rows = (2654435761 * np.arange(1000000, dtype=np.uint64)) % np.uint64(2**32) % np.uint64(1000)
        data = self.write_data(rows.astype(np.int16))

        options = {"init": self.start(weights=[1.0]), "reg_covar": 0, "tol": 0, "max_iter": 1}
        fits = [self.fit("gmm", data, 1, ranks, threads=threads, **options)
                for ranks, threads in ((1, 1), (1, 2), (3, 1))]

        for fitted in fits:
            self.assert_close(fitted["means"][0, 0], edge.reference["mean"], edge.tolerance)
            self.assert_close(fitted["covariances"][0, 0, 0], edge.reference["var"], edge.tolerance)
            for name in ("means", "covariances"):
                np.testing.assert_array_equal(fitted[name], fits[0][name])
            np.testing.assert_array_equal(fitted.trace, fits[0].trace)

    def test_permuted_starts_give_permuted_results(self):
        edge = EdgeInput("label_switching")
        case = Case("gmm_iris_k3_true_labels")
        order = np.array([2, 0, 1])
        labels = case.array("start_labels")
        permuted = self.write_data(np.argsort(order)[labels])

        for model, names in (("gmm", ("weights", "means", "covariances")), ("kmeans", ("centers",))):
            straight, switched = (self.fit(model, case.place("X"), 3, init="labels:" + place, tol=0, max_iter=5)
                                  for place in (case.place("start_labels"), permuted))
            self.assert_close(switched.trace, straight.trace, edge.tolerance)
            for name in names:
                self.assert_close(switched[name], straight[name][order], 1e-11)

    def test_the_objective_never_falls_without_a_ridge(self):
        faithful, iris = Case("gmm_faithful_k2").place("X"), Case("gmm_iris_k3_true_labels").place("X")
        counts = Case("poisson_mix_earthquakes").place("X")
        fits = [self.fit("gmm", data, components, covariance=shape, reg_covar=0, tol=0, max_iter=60, seed=seed)
                for data, components in ((faithful, 3), (iris, 2))
                for shape in ("full", "tied", "diag", "spherical") for seed in (1, 2)]
        fits += [self.fit("poisson", counts, 3, tol=0, max_iter=60, init=init) for init in ("kmeans", "random")]

        for fitted in fits:
            slack = 1e-9 * np.abs(fitted.trace[1:])
            self.assertTrue(np.all(np.diff(fitted.trace) >= -slack), fitted.trace)
        inertia = self.fit("kmeans", iris, 5, tol=0).trace
        self.assertTrue(np.all(np.diff(inertia) <= 1e-9 * inertia[1:]), inertia)


if __name__ == "__main__":
    unittest.main()
