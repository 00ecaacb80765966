"""Gaussian components up to a million of their widths from the data's mean, where squares about that mean lose all digits: EM in NumPy that
takes differences first."""

import unittest

import numpy as np

from tally_cli import Model, TallyTest, bits_of, covariance_matrices

columns = 3
weights = np.array([0.5, 0.2, 0.3])
iterations = 6
shapes = ("full", "tied", "diag", "spherical")


def make_rows(distance, offset=0.0, rows=9000):
    """Two components that overlap, and one as far on the other side, of width 1 or so."""
    random = np.random.default_rng(17)
    centres = np.array([[distance, 0, 1], [distance + 1.5, 1, 0], [-distance, distance, -distance]])
    shear = np.array([[1, 0, 0], [0.8, 0.5, 0], [-0.3, 0.2, 1.2]])
    which = random.choice(3, rows, p=weights)
    return random.normal(size=(rows, columns)) @ shear.T + centres[which] + offset, centres + offset


def make_wide_rows(distance, wide=48, rows=2500):
    random = np.random.default_rng(18)
    centres = distance * random.normal(size=(3, wide)).round(1)
    centres[1] = centres[0] + np.where(np.arange(wide) < 4, 1, 0)
    mix = np.eye(wide) + random.normal(size=(wide, wide)) / 20
    return random.normal(size=(rows, wide)) @ mix + centres[random.choice(3, rows, p=weights)], centres


def start_of(shape, centres):
    columns = centres.shape[1]
    own = {"full": np.array([np.eye(columns) * scale for scale in (1, 2, 3)]), "tied": 2 * np.eye(columns),
           "diag": np.ones((3, columns)) * [[1], [2], [3]], "spherical": np.array([1.0, 2, 3])}[shape]
    return {"weights": np.full(3, 1 / 3), "means": centres + 0.5, "covariances": own}


def em(x, shape, start, freeze_means=False, iterations=iterations):
    """The log-likelihood at each of the parameters, and the last of these."""
    columns = x.shape[1]
    w, m, own = (np.array(start[name], float) for name in ("weights", "means", "covariances"))
    trace = []
    for iteration in range(iterations + 1):
        covariances = np.broadcast_to(covariance_matrices(own, shape, columns), (3, columns, columns))
        logs = np.empty((len(x), 3))
        for k in range(3):
            difference = x - m[k]
            squares = np.sum(np.linalg.solve(np.linalg.cholesky(covariances[k]), difference.T)**2, axis=0)
            logs[:, k] = np.log(w[k]) - 0.5 * (columns * np.log(2 * np.pi) + np.linalg.slogdet(covariances[k])[1] + squares)
        of_rows = np.logaddexp.reduce(logs, axis=1)
        trace.append(of_rows.sum())
        if iteration == iterations:
            return trace, {"weights": w, "means": m, "covariances": own}
        r = np.exp(logs - of_rows[:, None])
        counts = r.sum(axis=0)
        w = counts / counts.sum()
        scatters = np.empty((3, columns, columns))
        for k in range(3):
            difference = x - m[k]
            if not freeze_means:
                step = r[:, k] @ difference / counts[k]
                m[k] += step
                difference = difference - step
            scatters[k] = (r[:, k, None] * difference).T @ difference
        own = {"full": lambda: scatters / counts[:, None, None], "tied": lambda: scatters.sum(axis=0) / counts.sum(),
               "diag": lambda: np.diagonal(scatters, axis1=1, axis2=2) / counts[:, None],
               "spherical": lambda: np.trace(scatters, axis1=1, axis2=2) / counts / columns}[shape]()


class FarComponents(TallyTest):
    def check(self, x, centres, shape, relative, freeze_means=False, **options):
        start = start_of(shape, centres)
        trace, expected = em(x, shape, start, freeze_means)
        data = self.write_data(x)
        words = {"init": self.start(**start), "covariance": shape, "reg_covar": 0, "tol": 0, "max_iter": iterations, **options}
        bits = []
        for ranks, threads in ((1, 1), (3, 2)):
            fitted = self.fit("gmm", data, 3, ranks, threads=threads, **words)
            bits.append(bits_of(fitted.file))
            self.assert_close(fitted.trace, trace, relative)
            self.assert_close(fitted["weights"], expected["weights"], 10 * relative)
            self.assert_close(fitted["means"], expected["means"], 0, absolute=100 * relative)  # in widths
            self.assert_close(fitted["covariances"], expected["covariances"], 100 * relative, absolute=100 * relative)
        self.assertEqual(bits[0], bits[1])
        return fitted

    def check_every_shape(self, rows_and_centres, relative, **options):
        for shape in shapes:
            with self.subTest(shape=shape):
                self.check(*rows_and_centres, shape, relative, **options)

    def test_a_million_widths_apart(self):
        self.check_every_shape(make_rows(1e6), 1e-9)

    def test_beside_an_offset(self):
        self.check_every_shape(make_rows(1e4, 1e8), 1e-9)

    def test_on_a_device(self):
        """The host, as the tests' stand-in for one."""
        self.check_every_shape(make_rows(1e6), 1e-9, device="generic")

    def test_with_frozen_means(self):
        self.check_every_shape(make_rows(1e6), 1e-9, freeze_means=True, freeze="means")

    def test_of_many_columns(self):
        """More monomials than a CPU keeps of a row, about the data's mean and about the components'."""
        for distance in (3, 1e6):
            for words in ({}, {"device": "generic"}):
                with self.subTest(distance=distance, **words):
                    self.check(*make_wide_rows(distance), "full", 1e-9, **words)
        self.check(*make_wide_rows(3), "full", 2e-4, precision="single")

    def test_in_single_precision(self):
        self.check_every_shape(make_rows(3e2), 2e-4, precision="single")

    def test_means_in_single_precision_are_not_rounded_to_it(self):
        """Rows are, to 0.006 widths, which averages out over a thousand of them."""
        x, centres = make_rows(1e5)
        data = self.write_data(x)
        for shape in shapes:
            words = {"init": self.start(**start_of(shape, centres)), "covariance": shape, "reg_covar": 0, "tol": 0, "max_iter": 30}
            double, single = (self.fit("gmm", data, 3, precision=precision, **words) for precision in ("double", "single"))
            with self.subTest(shape=shape):
                self.assert_close(single["means"], double["means"], 0, absolute=1e-3)
                self.assert_close(single["covariances"], double["covariances"], 1e-2, absolute=1e-2)
                steps = [fitted.trace[-1] - fitted.trace[-2] for fitted in (single, double)]
                self.assertLess(abs(steps[0] - steps[1]) / len(x), 2e-6)

    def test_from_starts_of_the_data(self):
        """Covariances begin as wide as all data, and labels as sums about the centre."""
        x, _ = make_rows(1e6)
        data = self.write_data(x)
        labels = self.write(y=np.where(x[:, 1] > 5e5, 2, np.arange(len(x)) % 2)) + ":/y"
        for shape in ("full", "diag", "spherical"):
            for start in ("labels:" + labels, "kmeans"):
                fitted = self.fit("gmm", data, 3, init=start, covariance=shape, reg_covar=0, tol=0, max_iter=20, seed=2)
                words = {name: fitted[name] for name in ("weights", "means", "covariances")}
                trace, _ = em(x, shape, words, iterations=0)
                with self.subTest(shape=shape, start=start[:6]):
                    self.assert_close(fitted.trace[-1], trace[0], 1e-9)
                    self.assertTrue(np.all(np.diff(fitted.trace) > -1e-6))

    def test_covariances_that_share_parts(self):
        """A full covariance each is what a component alone has, whatever it shares with none."""
        x, centres = make_rows(1e6)
        own = self.write_data(x[:2000])
        start = {"means": centres[:1], "covariances": np.eye(columns)[None]}
        expected = self.fit("gmm", own, 1, init=self.start(**start), reg_covar=0, tol=0, max_iter=3)
        for shape in ("VEV", "VVE", "EVV"):
            fitted = self.fit("gmm", own, 1, init=self.start(**start), covariance=shape, reg_covar=0, tol=0, max_iter=3)
            self.assert_close(fitted["covariances"], expected["covariances"], 1e-9)

    def test_rows_are_scored_as_they_were_fitted(self):
        x, centres = make_rows(1e6)
        fitted = self.check(x, centres, "full", 1e-9)
        data = self.write_data(x)
        scored = self.predict(fitted, data, "responsibilities", "--proba", ranks=2)
        self.assert_close(scored.sum(axis=1), np.ones(len(x)), 1e-12)
        self.assertLess(np.abs(scored[:, :2].sum(axis=1) - (x[:, 1] < 5e5)).max(), 1e-12)

    def test_states_of_a_chain(self):
        """Independent rows: every row of the transition matrix is the start distribution."""
        for x, centres in (make_rows(1e6), make_wide_rows(3)):
            self.check_chain(x, centres)

    def check_chain(self, x, centres):
        start = start_of("full", centres)
        trace, expected = em(x, "full", start, iterations=1)
        chain = {"startprob": start["weights"], "transmat": np.tile(start["weights"], (3, 1)),
                 "means": start["means"], "covariances": start["covariances"]}
        for ranks in (1, 2):
            fitted = self.fit_hmm_once(x, chain, ranks)
            self.assert_close(fitted.trace[0], trace[0], 1e-9)
            self.assert_close(fitted["means"], expected["means"], 0, absolute=1e-7)
            self.assert_close(fitted["covariances"], expected["covariances"], 1e-7, absolute=1e-7)

    def fit_hmm_once(self, x, chain, ranks):
        out = self.path()
        self.succeed("fit", "hmm", self.write_data(x), "--states", 3, "--emission", "gaussian", "--covariance", "full", "--reg-covar", 0,
                     "--init", self.start(**chain), "--max-iter", 1, "--tol", 0, "--quiet", "--out", out, ranks=ranks)
        return Model(out)


if __name__ == "__main__":
    unittest.main()
