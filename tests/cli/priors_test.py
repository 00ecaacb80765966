"""Priors: an M-step is the mode of the posterior. The densities of the priors are written here as the textbooks have them, and no
other parameters near the M-step's have a larger expected log-posterior."""

import math
import unittest

import numpy as np

from tally_cli import TallyTest, covariance_matrices, usage_status

components, columns = 3, 2
kappa, nu, concentration = 2.5, 6.0, 3.0


def log_normal(x, mean, covariance):
    deviation = x - mean
    _, determinant = np.linalg.slogdet(covariance)
    squares = np.einsum("...i,ij,...j->...", deviation, np.linalg.inv(covariance), deviation)
    return -0.5 * (x.shape[-1] * math.log(2 * math.pi) + determinant + squares)


def log_inverse_wishart(covariance, degrees, scale):
    """But for its constant (Gelman et al., Bayesian Data Analysis, 3rd edition, appendix A)."""
    _, determinant = np.linalg.slogdet(covariance)
    return -0.5 * ((degrees + len(covariance) + 1) * determinant + np.trace(scale @ np.linalg.inv(covariance)))


def log_inverse_gamma(variance, shape, scale):
    return -(shape + 1) * np.log(variance) - scale / variance


class Priors(TallyTest):
    def setUp(self):
        super().setUp()
        random = np.random.default_rng(8)
        self.x = np.concatenate([random.normal([0, 5], [1, 2], (30, 2)), random.normal([6, 1], [2, 1], (25, 2)),
                                 random.normal([-5, -4], 1, (7, 2))])
        self.data = self.write_data(self.x)
        self.scale = np.array([0.8, 1.7])
        self.mean = self.x.mean(axis=0)

    def full(self, shape, covariances):
        return np.broadcast_to(covariance_matrices(covariances, shape, columns), (components, columns, columns))

    def log_prior(self, shape, means, covariances):
        matrices = self.full(shape, covariances)
        of_means = sum(log_normal(means[k], self.mean, matrices[k] / kappa) for k in range(components))
        if shape == "full":
            return of_means + sum(log_inverse_wishart(S, nu, np.diag(self.scale)) for S in covariances)
        if shape == "tied":
            return of_means + log_inverse_wishart(covariances, nu, np.diag(self.scale))
        if shape == "diag":
            return of_means + log_inverse_gamma(covariances, nu / 2, self.scale / 2).sum()
        return of_means + log_inverse_gamma(covariances, nu / 2, self.scale.mean() / 2).sum()

    def expected(self, shape, responsibilities, weights, means, covariances):
        matrices = self.full(shape, covariances)
        densities = np.array([log_normal(self.x, means[k], matrices[k]) for k in range(components)]).T
        return ((responsibilities * (densities + np.log(weights))).sum() + (concentration - 1) * np.log(weights).sum() +
                self.log_prior(shape, means, covariances))

    def nearby(self, shape, parameters, random):
        weights, means, covariances = (parameters[name].copy() for name in ("weights", "means", "covariances"))
        weights *= np.exp(random.normal(0, 0.02, components))
        weights /= weights.sum()
        means += random.normal(0, 0.02, means.shape)
        if shape in ("diag", "spherical"):
            return weights, means, covariances * np.exp(random.normal(0, 0.02, covariances.shape))
        turn = np.eye(columns) + random.normal(0, 0.02, covariances.shape)
        return weights, means, turn @ covariances @ np.swapaxes(turn, -1, -2)

    def options(self, **more):
        return {"mean_precision_prior": kappa, "degrees_of_freedom_prior": nu, "covariance_prior": "0.8,1.7",
                "weight_concentration_prior": concentration, "reg_covar": 0, "tol": 0, **more}

    def test_the_m_step_is_the_mode_of_the_posterior(self):
        random = np.random.default_rng(4)
        starts = {"full": np.array([np.eye(2), 2 * np.eye(2), np.eye(2)]), "tied": np.eye(2), "diag": np.ones((3, 2)),
                  "spherical": np.ones(3)}
        for shape, covariances in starts.items():
            for ranks in (1, 3):
                init = self.start(weights=[0.5, 0.3, 0.2], means=[[0, 4], [5, 1], [-4, -4]], covariances=covariances)
                before = self.fit("gmm", self.data, components, covariance=shape, init=init, max_iter=0, reg_covar=0)
                responsibilities = self.probabilities(before, self.data)
                fitted = self.fit("gmm", self.data, components, ranks, covariance=shape, init=init, **self.options(max_iter=1))
                with self.subTest(shape=shape, ranks=ranks):
                    best = self.expected(shape, responsibilities, *(fitted[n] for n in ("weights", "means", "covariances")))
                    for _ in range(300):
                        other = self.expected(shape, responsibilities, *self.nearby(shape, fitted, random))
                        self.assertLess(other, best)

    def test_one_component_has_the_posterior_mode_of_the_book(self):
        """Fraley and Raftery 2007, table 1 (VVV with G = 1): the mean is the data's, and S the sums over n + nu + D + 2."""
        fitted = self.fit("gmm", self.data, 1, **self.options(weight_concentration_prior=1))
        n = len(self.x)
        deviations = self.x - self.mean
        self.assert_close(fitted["means"][0], self.mean, 1e-12)
        expected = (np.diag(self.scale) + deviations.T @ deviations) / (n + nu + columns + 2)
        self.assert_close(fitted["covariances"][0], expected, 1e-12, absolute=1e-12)

    def test_the_default_scale_is_the_data_s_and_is_kept_in_the_file(self):
        options = {"degrees_of_freedom_prior": 4, "max_iter": 5}
        fitted = self.fit("gmm", self.data, components, **options)
        scale = self.x.var(axis=0) * components ** (-2 / columns)
        said = [float(number) for number in fitted.attributes["option_covariance_prior"].split(",")]
        words = ",".join(repr(float(value)) for value in scale)
        same = self.fit("gmm", self.data, components, covariance_prior=words, **options)
        self.assert_close(same.trace, fitted.trace, 1e-12)
        named = self.fit("gmm", self.data, components, covariance_prior="data", **options)
        np.testing.assert_array_equal(named.trace, fitted.trace)
        self.assert_close(said, scale, 1e-12)

    def test_a_prior_keeps_a_component_on_one_point_alive(self):
        x = np.concatenate([self.x, np.full((20, 2), 30.0)])
        data = self.write_data(x)
        labels = self.write(y=np.repeat([0, 1], [len(self.x), 20])) + ":/y"
        options = {"init": "labels:" + labels, "reg_covar": 0}
        for shape in ("full", "diag", "spherical"):
            self.refuse_fit("gmm", data, 2, covariance=shape, says="component 1 is singular", **options)
            self.fit("gmm", data, 2, covariance=shape, degrees_of_freedom_prior=4, mean_precision_prior=0.01, **options)

    def test_an_empty_component_has_what_the_prior_says(self):
        init = self.start(weights=[1, 0], means=[[0, 0], [50, 50]], covariances=[np.eye(2), np.eye(2)])
        fitted = self.fit("gmm", self.data, 2, init=init, **self.options(max_iter=1))
        self.assert_close(fitted["means"][1], self.mean, 1e-12)
        self.assert_close(fitted["covariances"][1], np.diag(self.scale) / (nu + columns + 2), 1e-12)
        n = len(self.x)
        self.assert_close(fitted["weights"], [(n + 2) / (n + 4), 2 / (n + 4)], 1e-12)

    def test_frozen_means_have_the_mode_about_them(self):
        init = self.start(weights=[1], means=[[1, 2]], covariances=[np.eye(2)])
        fitted = self.fit("gmm", self.data, 1, init=init, freeze="means", **self.options(max_iter=1, weight_concentration_prior=1))
        deviations, off = self.x - [1, 2], np.array([1, 2]) - self.mean
        expected = (np.diag(self.scale) + deviations.T @ deviations + kappa * np.outer(off, off)) / (len(self.x) + nu + columns + 2)
        self.assert_close(fitted["covariances"][0], expected, 1e-12)

    def test_weights_of_any_mixture(self):
        counts = self.write_data(np.random.default_rng(2).poisson([[2, 9]] * 40 + [[20, 1]] * 10))
        fitted = self.fit("poisson", counts, 2, weight_concentration_prior=11, init="random-from-data")
        plain = self.fit("poisson", counts, 2, init="random-from-data")
        self.assert_close(sorted(plain["weights"]), [0.2, 0.8], 1e-2)
        self.assert_close(sorted(fitted["weights"]), [20 / 70, 50 / 70], 1e-2)

    def test_states_have_priors_too(self):
        fitted = self.fit("hmm", self.data, 2, emission="gaussian", covariance="full", degrees_of_freedom_prior=4,
                          mean_precision_prior=1, max_iter=5)
        self.assertEqual(fitted["covariances"].shape, (2, 2, 2))

    def test_what_cannot_be(self):
        for says, options in (("mean-precision-prior", {"mean_precision_prior": -1}),
                              ("more than 1 are needed", {"degrees_of_freedom_prior": 1}),
                              ("degrees-of-freedom-prior asks for", {"covariance_prior": 1}),
                              ("2 columns", {"covariance_prior": "1,2,3", "degrees_of_freedom_prior": 5}),
                              ("above 0", {"covariance_prior": "1,0", "degrees_of_freedom_prior": 5}),
                              ("not a number", {"covariance_prior": "one", "degrees_of_freedom_prior": 5}),
                              ("from 1 on", {"weight_concentration_prior": 0.5}),
                              ("not VEI", {"covariance": "VEI", "mean_precision_prior": 1})):
            with self.subTest(options=options):
                self.refuse_fit("gmm", self.data, 2, status=usage_status, says=says, **options)


if __name__ == "__main__":
    unittest.main()
