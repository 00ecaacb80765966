"""Reference cases through the command line: traces and parameters within each case's own tolerance, published
values to their printed digits. An entry t of a trace belongs to the parameters after t M-steps."""

import unittest

import numpy as np

from tally_cli import Case, TallyTest, covariance_matrices

ranks_of_reference = (1, 3)


class KMeansReference(TallyTest):
    def check(self, name, relative, iterations):
        case = Case(name)
        golden = case.golden
        start = self.start(centers=case.array("start_centers"))
        components = golden["k"]

        for ranks in ranks_of_reference:
            fitted = self.fit("kmeans", case.place("X"), components, ranks, init=start, tol=0, max_iter=100)

            self.assert_close(fitted.trace, golden["inertia_trace"], relative)
            # Columns have the scale 10: a centre that is zero but for the rounding of the data's mean is zero.
            self.assert_close(fitted["centers"], case.array("final_centers"), relative, absolute=relative)
            self.assertEqual(fitted.result["iterations"], golden["n_iter_to_fixed_point"])
            self.assertEqual(fitted.result["status"], "fixed point")
            self.assert_close(fitted.result["total"], golden["final_inertia"], relative)
            labels = self.labels(fitted, case.place("X"), ranks)
            np.testing.assert_array_equal(labels, case.array("final_labels"))
            np.testing.assert_array_equal(np.bincount(labels), golden.get("sizes", golden.get("cluster_sizes")))
        for iteration, centers in iterations(case).items():
            fitted = self.fit("kmeans", case.place("X"), components, init=start, tol=0, max_iter=int(iteration))
            self.assert_close(fitted["centers"], centers, relative, absolute=relative)

    def test_iris(self):
        case = Case("kmeans_iris_k3")
        self.assertIn("1e-12 relative", case.golden["tolerance"])
        self.check("kmeans_iris_k3", 1e-12, lambda case: case.golden["centers_after"])

    def test_iris_reaches_the_published_optimum(self):
        case = Case("kmeans_iris_k3")
        start = self.start(centers=case.array("start_centers"))

        fitted = self.fit("kmeans", case.place("X"), 3, init=start, tol=0)

        self.assert_printed(fitted.trace[-1], case.golden["published"]["global_optimum_inertia"], 1e-5)

    def test_restarts_reach_the_published_optima_of_iris(self):
        case = Case("kmeans_iris_k3")
        published = case.golden["global_optima_table_du_Merle_1999"]

        for components, last_digit in ((2, 1e-3), (3, 1e-4), (4, 1e-4), (5, 1e-4)):
            fitted = self.fit("kmeans", case.place("X"), components, n_init=50, tol=0)
            self.assert_printed(fitted.trace[-1], published[f"k{components}"], last_digit)

    def test_digits(self):
        self.assertEqual(Case("kmeans_digits_k10").golden["tolerance"], "1e-11 rel")
        self.check("kmeans_digits_k10", 1e-11, lambda case: {t: case.array(f"centers_{t}") for t in (1, 2, 10)})


class GaussianReference(TallyTest):
    trace_relative, parameter_relative, converged_relative = 1e-10, 1e-8, 1e-7

    def check_parameters(self, fitted, shape, columns, expected, relative):
        covariances = covariance_matrices(fitted["covariances"], shape, columns)
        expected_covariances = np.array(expected["cov"])
        if shape == "tied" and expected_covariances.ndim == 3:
            covariances = np.broadcast_to(covariances, expected_covariances.shape)
        deviations = np.sqrt(np.einsum("...ii->...i", expected_covariances))
        # A covariance that is zero but for rounding is compared on the scale of its columns.
        scale = deviations[..., :, None] * deviations[..., None, :]

        self.assert_close(fitted["weights"], expected["w"], relative)
        self.assert_close(fitted["means"], expected["mu"], relative)
        self.assert_close(covariances / scale, expected_covariances / scale, relative, absolute=relative)

    def check(self, name, components, shape):
        case = Case(name)
        self.assertEqual(case.golden["tolerance"], "1e-10 relative on the traces (float64), 1e-8 on parameters; "
                         "converged values 1e-7")
        golden = case.golden["types"][shape]
        columns = case.golden["d"]
        options = {"covariance": shape, "reg_covar": 0, "init": "labels:" + case.place("start_labels"), "tol": 0}
        last = len(golden["loglik_trace"]) - 1

        for ranks in ranks_of_reference:
            fitted = self.fit("gmm", case.place("X"), components, ranks, max_iter=last, **options)
            self.assert_close(fitted.trace, golden["loglik_trace"], self.trace_relative)
            self.assertEqual(fitted.training["free_parameters"], golden["n_free_parameters"])
        for iteration, theta in golden["theta"].items():
            fitted = self.fit("gmm", case.place("X"), components, max_iter=int(iteration), **options)
            self.check_parameters(fitted, shape, columns, theta, self.parameter_relative)
        converged = golden["converged"]
        fitted = self.fit("gmm", case.place("X"), components, max_iter=converged["iterations_used"], **options)
        self.assert_close(fitted.trace[-1], converged["loglik"], self.converged_relative)
        self.check_parameters(fitted, shape, columns, converged, self.converged_relative)
        labels = self.labels(fitted, case.place("X"))
        np.testing.assert_array_equal(np.bincount(labels), converged["hard_sizes"])
        return fitted

    def test_faithful_full(self):
        fitted = self.check("gmm_faithful_k2", 2, "full")
        published = Case("gmm_faithful_k2").golden["published"]
        self.assert_printed(fitted.trace[-1], published["VVV2_loglik"], 1e-3)

    def test_faithful_tied(self):
        self.check("gmm_faithful_k2", 2, "tied")

    def test_faithful_diag(self):
        self.check("gmm_faithful_k2", 2, "diag")

    def test_faithful_spherical(self):
        self.check("gmm_faithful_k2", 2, "spherical")

    def test_iris_full(self):
        fitted = self.check("gmm_iris_k3_true_labels", 3, "full")
        published = Case("gmm_iris_k3_true_labels").golden["published"]
        bic = 2 * fitted.trace[-1] - fitted.training["free_parameters"] * np.log(150)
        self.assert_printed(fitted.trace[-1], published["VVV3_loglik_local_max"], 1e-4)
        self.assert_printed(bic, published["VVV3_BIC_mclust"], 1e-4)

    def test_iris_tied(self):
        self.check("gmm_iris_k3_true_labels", 3, "tied")

    def test_iris_diag(self):
        self.check("gmm_iris_k3_true_labels", 3, "diag")

    def test_iris_spherical(self):
        self.check("gmm_iris_k3_true_labels", 3, "spherical")

    def test_responsibilities_start_as_labels_do(self):
        case = Case("gmm_iris_k3_true_labels")
        golden = case.golden["types"]["full"]
        one_hot = np.eye(3)[case.array("start_labels")]
        init = "responsibilities:" + self.write_data(one_hot)

        fitted = self.fit("gmm", case.place("X"), 3, init=init, reg_covar=0, tol=0, max_iter=10)

        self.assert_close(fitted.trace, golden["loglik_trace"], self.trace_relative)

    def test_parameters_start_where_another_fit_ended(self):
        case = Case("gmm_iris_k3_true_labels")
        golden = case.golden["types"]["full"]
        theta = golden["theta"]["2"]
        init = self.start(weights=theta["w"], means=theta["mu"], covariances=theta["cov"])

        fitted = self.fit("gmm", case.place("X"), 3, init=init, reg_covar=0, tol=0, max_iter=8)

        self.assert_close(fitted.trace, golden["loglik_trace"][2:], self.trace_relative)

    def test_an_early_entry_of_a_trace_does_not_know_how_far_it_goes(self):
        case = Case("gmm_faithful_k2")
        options = {"init": "labels:" + case.place("start_labels"), "reg_covar": 0, "tol": 0}

        short = self.fit("gmm", case.place("X"), 2, max_iter=3, **options)
        long = self.fit("gmm", case.place("X"), 2, max_iter=10, **options)

        self.assertEqual(len(short.trace), 4)
        np.testing.assert_array_equal(short.trace, long.trace[:4])


class DigitsReference(TallyTest):
    """The ridge goes on every diagonal after every M-step, the first included, as in scikit-learn."""

    relative = 1e-9

    def check(self, shape):
        case = Case("gmm_digits_k10_reg")
        self.assertEqual(case.golden["tolerance"], "1e-9 relative")
        golden = case.golden["types"][shape]
        options = {"covariance": shape, "reg_covar": case.golden["reg_covar"], "tol": 0,
                   "init": "labels:" + case.place("start_labels")}

        for ranks in ranks_of_reference:
            fitted = self.fit("gmm", case.place("X"), 10, ranks, max_iter=10, **options)
            self.assert_close(fitted.trace, golden["loglik_trace"], self.relative)
        self.assertEqual(fitted.training["free_parameters"], golden["n_free_parameters"])
        for iteration in (0, 1, 2, 10):
            fitted = self.fit("gmm", case.place("X"), 10, max_iter=iteration, **options)
            covariances = case.array(f"{shape}_cov_{iteration}")
            self.assert_close(fitted["weights"], case.array(f"{shape}_w_{iteration}"), self.relative)
            # Columns lie between 0 and 16: a mean or covariance that is zero but for rounding has that scale.
            self.assert_close(fitted["means"], case.array(f"{shape}_mu_{iteration}"), self.relative, self.relative)
            self.assert_close(fitted["covariances"], covariances, self.relative, self.relative)

    def test_full(self):
        self.check("full")

    def test_tied(self):
        self.check("tied")

    def test_diag(self):
        self.check("diag")

    def test_spherical(self):
        self.check("spherical")


class OneColumnReference(TallyTest):
    """Mixtures on one column: equal variances are a tied covariance, unequal ones a full covariance."""

    def faithful(self, shape, **options):
        case = Case("gmm_1d_faithful_waiting")
        covariances = case.array("start_cov")
        start = self.start(weights=case.array("start_w"), means=case.array("start_mu"),
                           covariances=covariances[0] if shape == "tied" else covariances)
        fitted = self.fit("gmm", case.place("X"), 2, covariance=shape, reg_covar=0, init=start, **options)
        return case.golden, fitted

    def check_faithful(self, shape, name):
        case = Case("gmm_1d_faithful_waiting")
        self.assertEqual(case.golden["tolerance"], "1e-10 rel traces; published last digit")
        for ranks in ranks_of_reference:
            golden, fitted = self.faithful(shape, ranks=ranks, tol=0, max_iter=10)
            self.assert_close(fitted.trace, golden[name]["loglik_trace"], 1e-10)
        for iteration, (weights, means, covariances) in golden[name].get("theta", {}).items():
            _, fitted = self.faithful(shape, tol=0, max_iter=int(iteration))
            self.assert_close(fitted["weights"], weights, 1e-10)
            self.assert_close(fitted["means"], means, 1e-10)
            self.assert_close(np.broadcast_to(fitted["covariances"], (2, 1, 1)), covariances, 1e-10)
        _, fitted = self.faithful(shape, tol=0, max_iter=200)
        self.assert_close(fitted.trace[-1], golden[name]["converged_loglik"], 1e-10)
        # Where a log-likelihood stands still in its last digit, parameters are known to half as many digits.
        self.assert_close(fitted["weights"], golden[name]["w"], 1e-6)
        self.assert_close(fitted["means"], golden[name]["mu"], 1e-6)
        self.assert_close(np.broadcast_to(fitted["covariances"], (2, 1, 1)), golden[name]["var"], 1e-6)

    def test_faithful_equal_variances(self):
        self.check_faithful("tied", "equal_variance")

    def test_faithful_unequal_variances(self):
        self.check_faithful("full", "unequal_variance")

    def test_faithful_equal_variances_as_published(self):
        # mixtools stops once the log-likelihood changes by less than 1e-8.
        golden, fitted = self.faithful("tied", tol=1e-8 / 272, max_iter=1000)

        published = golden["published"]["equal"]
        self.assertEqual(fitted.result["iterations"], published["iterations"])
        self.assert_printed(fitted["weights"], published["lam"], 1e-5)
        self.assert_printed(fitted["means"].ravel(), published["mu"], 1e-5)
        self.assert_printed(np.sqrt(fitted["covariances"].ravel()), published["sigma"][:1], 1e-5)
        self.assert_printed(fitted.trace[-1], published["loglik"], 1e-3)

    def test_faithful_unequal_variances_as_published(self):
        golden, fitted = self.faithful("full", tol=0, max_iter=200)

        # The published fit stopped at a change of 1e-8 from an unknown start: its sixth digit is not the limit's.
        published = golden["published"]["unequal"]
        self.assert_close(fitted["weights"], published["lam"], 1e-5)
        self.assert_close(fitted["means"].ravel(), published["mu"], 1e-5)
        self.assert_close(np.sqrt(fitted["covariances"].ravel()), published["sigma"], 1e-5)


class GalaxiesReference(TallyTest):
    def fit_galaxies(self, key, **options):
        family, components = key.split(",")
        case = Case("gmm_1d_galaxies")
        init = "labels:" + case.place(f"start_labels_{family}{components}")
        return self.fit("gmm", case.place("X"), int(components), covariance={"E": "tied", "V": "full"}[family],
                        reg_covar=0, init=init, tol=0, **options)

    def test_traces(self):
        golden = Case("gmm_1d_galaxies").golden
        self.assertEqual(golden["tolerance"], "1e-9 rel traces; converged 1e-6; published 5e-4")
        for key, expected in golden["fits"].items():
            with self.subTest(key):
                fitted = self.fit_galaxies(key, max_iter=10)
                self.assert_close(fitted.trace, expected["naive_loglik_trace_0_10"], 1e-9)

    def test_converged_values(self):
        for key, expected in Case("gmm_1d_galaxies").golden["fits"].items():
            with self.subTest(key):
                # A component that closes in on a few galaxies makes V,6 slow. mclust stops where the log-likelihood
                # stands still, its parameters good to half as many digits, or to fewer where EM is slow.
                slow = key == "V,6"
                relative = 5e-5 if slow else 1e-5
                fitted = self.fit_galaxies(key, max_iter=6000 if slow else 3500)
                self.assert_close(fitted.trace[-1], expected["loglik_converged_mclust"], 1e-6)
                self.assert_close(fitted["weights"], expected["pro"], relative)
                self.assert_close(fitted["means"].ravel(), expected["mean"], relative)
                self.assert_close(fitted["covariances"].ravel(), np.ravel(expected["sigmasq"]), relative)

    def test_best_of_three_components_as_published(self):
        case = Case("gmm_1d_galaxies")
        expected, published = case.golden["V3_best_from_labels"], case.golden["published"]
        options = {"init": "labels:" + case.place("start_labels_V3_best"), "reg_covar": 0, "tol": 0}

        for ranks in ranks_of_reference:
            fitted = self.fit("gmm", case.place("X"), 3, ranks, max_iter=20, **options)
            self.assert_close(fitted.trace[:3], expected["loglik_trace_first"], 1e-9)
        bic = 2 * fitted.trace[-1] - fitted.training["free_parameters"] * np.log(82)

        self.assert_close(fitted.trace[-1], expected["loglik_converged"], 1e-9)
        self.assert_close(fitted["weights"], expected["w"], 1e-6)
        self.assert_close(fitted["means"], expected["mu"], 1e-6)
        self.assert_close(fitted["covariances"], expected["cov"], 1e-6)
        self.assertEqual(fitted.training["free_parameters"], published["df"])
        self.assert_printed(fitted.trace[-1], published["loglik"], 5e-4)
        self.assert_printed(bic, published["BIC"], 5e-4)
        labels = self.labels(fitted, case.place("X"))
        np.testing.assert_array_equal(np.sort(np.bincount(labels)), published["sizes"])


class PoissonReference(TallyTest):
    def check_theta(self, fitted, theta, relative):
        self.assert_close(fitted["weights"], theta["w"], relative)
        self.assert_close(fitted["rates"].ravel(), theta["lam"], relative)

    def start_of(self, theta):
        return self.start(weights=theta["w"], rates=np.reshape(theta["lam"], (-1, 1)))

    def check_earthquakes(self, components):
        case = Case("poisson_mix_earthquakes")
        self.assertEqual(case.golden["tolerance"], "1e-11 rel trace; published last digit")
        golden, published = case.golden["models"][f"K{components}"], case.golden["published"]
        options = {"init": self.start_of(golden["start"]), "tol": 0}

        for ranks in ranks_of_reference:
            fitted = self.fit("poisson", case.place("X"), components, ranks, max_iter=10, **options)
            self.assert_close(fitted.trace, golden["loglik_trace"], 1e-11)
        for iteration, theta in golden["theta"].items():
            fitted = self.fit("poisson", case.place("X"), components, max_iter=int(iteration), **options)
            self.check_theta(fitted, theta, 1e-11)
        converged = golden["converged"]
        fitted = self.fit("poisson", case.place("X"), components, max_iter=converged["iterations"], **options)
        self.assert_close(fitted.trace[-1], converged["loglik"], 1e-11)
        self.check_theta(fitted, converged, 1e-9)

        self.assert_printed(-fitted.trace[-1], published["minus_loglik"][str(components)], 1e-4)
        printed = published.get(f"K{components}", {})
        if "w" in printed:
            self.assert_printed(fitted["weights"], printed["w"], 1e-3)
        if "lam" in printed:
            self.assert_printed(fitted["rates"].ravel(), printed["lam"], 1e-3)

    def test_earthquakes_one_component(self):
        self.check_earthquakes(1)

    def test_earthquakes_two_components(self):
        self.check_earthquakes(2)

    def test_earthquakes_three_components(self):
        self.check_earthquakes(3)

    def test_earthquakes_four_components(self):
        self.check_earthquakes(4)

    def check_death_notices(self, data, **weights):
        case = Case("poisson_mix_death_notices")
        self.assertEqual(case.golden["tolerance"],
                         "1e-10 rel trace; MLE params 1e-5 unless run to full convergence")
        golden, published = case.golden, case.golden["published"]
        options = {"init": self.start_of(golden["start"]), "tol": 0, **weights}

        for ranks in ranks_of_reference:
            fitted = self.fit("poisson", case.place(data), 2, ranks, max_iter=20, **options)
            self.assert_close(fitted.trace, golden["loglik_trace_0_to_20"], 1e-10)
        for iteration, theta in golden["theta"].items():
            fitted = self.fit("poisson", case.place(data), 2, max_iter=int(iteration), **options)
            self.check_theta(fitted, theta, 1e-10)
            self.assert_close(fitted.trace[-1], theta["loglik"], 1e-10)
        fitted = self.fit("poisson", case.place(data), 2, max_iter=5000, **options)
        self.assert_close(fitted.trace[-1], golden["mle"]["loglik"], 1e-10)
        self.check_theta(fitted, golden["mle"], 1e-5)
        self.assert_printed(fitted["weights"], published["w"], 1e-4)
        self.assert_printed(fitted["rates"].ravel(), published["lam"], 1e-4)
        self.assert_printed(fitted.trace[-1], published["loglik"], 1e-3)

        single = self.fit("poisson", case.place(data), 1, init=self.start(rates=[[1.0]]), tol=0, max_iter=1, **weights)
        self.assert_close(single.trace[-1], golden["K1"]["loglik"], 1e-10)
        self.assert_close(single["rates"].ravel(), [golden["K1"]["lam"]], 1e-10)

    def test_death_notices_expanded(self):
        self.check_death_notices("X_expanded")

    def test_death_notices_weighted(self):
        self.check_death_notices("count", weights=Case("poisson_mix_death_notices").place("freq"))


class ExponentialReference(TallyTest):
    def test_coal(self):
        case = Case("exponential_mix_coal")
        golden = case.golden
        self.assertEqual(golden["tolerance"], "1e-11 rel trace; 1e-7 converged")
        start = self.start(weights=golden["start"]["w"], rates=golden["start"]["rate"])

        for ranks in ranks_of_reference:
            fitted = self.fit("exponential", case.place("X"), 2, ranks, init=start, tol=0, max_iter=10)
            self.assert_close(fitted.trace, golden["loglik_trace"], 1e-11)
        for iteration, theta in golden["theta"].items():
            fitted = self.fit("exponential", case.place("X"), 2, init=start, tol=0, max_iter=int(iteration))
            self.assert_close(fitted["weights"], theta["w"], 1e-11)
            self.assert_close(fitted["rates"].ravel(), theta["rate"], 1e-11)
        # The likelihood is flat at its maximum: what is left of the case's parameters are six digits.
        converged = golden["converged"]
        fitted = self.fit("exponential", case.place("X"), 2, tol=0, max_iter=10,
                          init=self.start(weights=converged["w"], rates=converged["rate"]))
        self.assert_close(fitted.trace[-1], converged["loglik"], 1e-11)
        self.assert_close(fitted["weights"], converged["w"], 1e-6)
        self.assert_close(fitted["rates"].ravel(), converged["rate"], 1e-6)


class BernoulliReference(TallyTest):
    def check(self, probability_of_one, model, **options):
        case = Case("bernoulli_mix_digits_k10")
        golden = case.golden
        self.assertEqual(golden["tolerance"], "1e-11 rel")
        options = {"init": "labels:" + case.place("labels"), "alpha": golden["alpha"], "tol": 0, **options}

        for ranks in ranks_of_reference:
            fitted = self.fit(model, case.place("X"), 10, ranks, max_iter=10, **options)
            self.assert_close(fitted.trace, golden["loglik_trace"], 1e-11)
        for iteration, weights in golden["w"].items():
            fitted = self.fit(model, case.place("X"), 10, max_iter=int(iteration), **options)
            self.assert_close(fitted["weights"], weights, 1e-11)
            self.assert_close(probability_of_one(fitted), case.array(f"p_{iteration}"), 1e-11)
        converged = golden["converged"]
        fitted = self.fit(model, case.place("X"), 10, max_iter=converged["iterations"], **options)
        self.assert_close(fitted.trace[-1], converged["loglik"], 1e-11)
        self.assert_close(fitted["weights"], converged["w"], 1e-9)

    def test_digits(self):
        self.check(lambda fitted: fitted["probabilities"], "bernoulli")

    def test_digits_as_two_symbols(self):
        self.check(lambda fitted: fitted["probabilities"][:, :, 1], "categorical")


class StudentReference(TallyTest):
    """Tally's path to the maximum is another than the case's (docs/models/student_t.md); densities and maximum are not."""

    def setUp(self):
        super().setUp()
        self.case = Case("tmix_faithful_k2")
        self.assertEqual(self.case.golden["tolerance"], "1e-10 rel")

    def fit_from(self, theta, ranks=1, **options):
        start = self.start(weights=theta["w"], means=theta["mu"], scales=theta["Sigma"], degrees_of_freedom=theta["nu"])
        return self.fit("student-t", self.case.place("X"), 2, ranks, init=start, reg_covar=0, tol=0, **options)

    def test_densities(self):
        for name, golden in self.case.golden["models"].items():
            for iteration, theta in golden["theta"].items():
                with self.subTest(name=name, iteration=iteration):
                    fitted = self.fit_from(theta, max_iter=0)
                    self.assert_close(fitted.trace[0], golden["loglik_trace"][int(iteration)], 1e-10)

    def test_maxima_where_degrees_of_freedom_are_given(self):
        for name in ("nu4_fixed", "nu30_fixed"):
            golden = self.case.golden["models"][name]
            converged = golden["converged"]
            for ranks in ranks_of_reference:
                with self.subTest(name=name, ranks=ranks):
                    fitted = self.fit_from(golden["theta"]["0"], ranks, max_iter=200, freeze="degrees_of_freedom")
                    self.assert_close(fitted.trace[-1], converged["loglik"], 1e-10)
                    # The case stops where its log-likelihood does not grow: half of its parameters' digits are left.
                    for array, key in (("weights", "w"), ("means", "mu"), ("scales", "Sigma")):
                        self.assert_close(fitted[array], converged[key], 2e-5)

    def test_the_maximum_where_they_are_estimated(self):
        golden = self.case.golden["models"]["nu_estimated_from_10"]
        fitted = self.fit_from(golden["theta"]["0"], max_iter=5000)
        # One component is normal: its degrees of freedom grow for ever, and the case's 5000 iterations are on their way.
        self.assertGreater(fitted.trace[-1], golden["converged"]["loglik"])
        self.assert_close(fitted.trace[-1], golden["converged"]["loglik"], 1e-5)
        self.assert_close(fitted["weights"], golden["converged"]["w"], 1e-3)


class VonMisesFisherReference(TallyTest):
    def test_household(self):
        case = Case("vmf_mix_household")
        golden = case.golden
        self.assertEqual(golden["tolerance"], "1e-10 rel trace; published 1e-4")
        for components in range(1, 6):
            expected = golden["models"][f"K{components}"]
            options = {"init": "labels:" + case.place(f"start_labels_K{components}"), "tol": 0}
            for ranks in ranks_of_reference:
                fitted = self.fit("von-mises-fisher", case.place("X"), components, ranks,
                                  max_iter=len(expected["loglik_trace"]) - 1, **options)
                self.assert_close(fitted.trace, expected["loglik_trace"], 1e-10)
            for iteration, theta in expected["theta"].items():
                fitted = self.fit("von-mises-fisher", case.place("X"), components, max_iter=int(iteration), **options)
                self.check_parameters(fitted, theta, 1e-8)
            fitted = self.fit("von-mises-fisher", case.place("X"), components, max_iter=3000, **options)
            self.assert_close(fitted.trace[-1], expected["converged"]["loglik"], 1e-10)
            self.check_parameters(fitted, expected["converged"], 1e-5)
            # movMF's densities are relative to the uniform one on the sphere.
            bic = fitted.training["free_parameters"] * np.log(40) - 2 * (fitted.trace[-1] + 40 * np.log(4 * np.pi))
            if components <= 3:  # of more there are several optima
                self.assert_printed(bic, golden["published"]["BIC"][components - 1], 1e-4)

    def check_parameters(self, fitted, expected, relative):
        self.assert_close(fitted["weights"], expected["w"], relative)
        self.assert_close(fitted["mean_directions"], expected["mu"], relative)
        self.assert_close(fitted["concentrations"], expected["kappa"], relative)


if __name__ == "__main__":
    unittest.main()
