"""Mixtures whose rows are of known components in part (--labels): against EM in NumPy, and the same bits on any ranks."""

import unittest

import numpy as np

from tally_cli import TallyTest, bits_of, data_status, usage_status

rows, columns, components = 9000, 3, 3
centres = np.array([[0, 0, 0], [3, 1, 0], [0, 3, 2]], dtype=float)


def naive(log_densities, maximize, x, weights, labels, parameters, steps):
    """(trace, parameters) of EM where label >= 0 says which component a row is of: of log w_y p(x | y) instead of the sum."""
    trace = []
    for step in range(steps + 1):
        joint = log_densities(x, parameters) + np.log(parameters["weights"])
        known = labels >= 0
        joint[known[:, None] & (np.arange(components) != labels[:, None])] = -np.inf
        top = joint.max(axis=1, keepdims=True)
        sums = top + np.log(np.exp(joint - top).sum(axis=1, keepdims=True))
        trace.append(weights @ sums[:, 0])
        if step == steps:
            return trace, parameters
        shares = weights[:, None] * np.exp(joint - sums)
        parameters = maximize(x, shares)
        parameters["weights"] = shares.sum(axis=0) / weights.sum()


def gaussian_densities(x, parameters):
    result = np.empty((len(x), components))
    for k in range(components):
        difference = x - parameters["means"][k]
        solved = np.linalg.solve(parameters["covariances"][k], difference.T).T
        result[:, k] = -0.5 * ((difference * solved).sum(axis=1) + np.linalg.slogdet(parameters["covariances"][k])[1]
                               + columns * np.log(2 * np.pi))
    return result


def gaussian_step(x, shares):
    counts = shares.sum(axis=0)
    means = shares.T @ x / counts[:, None]
    covariances = [(shares[:, k, None] * (x - means[k])).T @ (x - means[k]) / counts[k] for k in range(components)]
    return {"means": means, "covariances": np.array(covariances)}


def exponential_densities(x, parameters):
    return (np.log(parameters["rates"])[None] - x[:, None, :] * parameters["rates"][None]).sum(axis=2)


def exponential_step(x, shares):
    return {"rates": shares.sum(axis=0)[:, None] / (shares.T @ x)}


class Labels(TallyTest):
    def setUp(self):
        super().setUp()
        random = np.random.default_rng(31)
        self.truth = random.integers(0, components, rows)
        self.x = centres[self.truth] + random.normal(size=(rows, columns)) * [1, 1.5, 0.7]
        self.waits = random.exponential(1.0 + centres[self.truth])
        self.weights = random.integers(1, 4, rows).astype(float)
        self.known = np.where(random.random(rows) < 0.2, self.truth, -1)
        self.file = self.write(x=self.x, waits=self.waits, weights=self.weights, known=self.known)
        self.data, self.given = f"{self.file}:/x", {"labels": f"{self.file}:/known", "weights": f"{self.file}:/weights"}

    def test_gaussians_as_a_naive_fit_has_them(self):
        start = {"weights": [0.3, 0.3, 0.4], "means": centres + 0.5, "covariances": np.array([np.eye(columns) * 2] * components)}
        fitted = self.fit("gmm", self.data, components, init=self.start(**start), tol=0, max_iter=12, reg_covar=0, **self.given)
        trace, expected = naive(gaussian_densities, gaussian_step, self.x, self.weights, self.known, start, 12)
        self.assert_close(fitted.trace, trace, 1e-12)
        for name, values in expected.items():
            self.assert_close(fitted[name], values, 1e-9, 1e-10)

    def test_another_family(self):
        start = {"weights": [0.3, 0.3, 0.4], "rates": 1 / (1.5 + centres)}
        fitted = self.fit("exponential", f"{self.file}:/waits", components, init=self.start(**start), tol=0, max_iter=12,
                          **self.given)
        trace, expected = naive(exponential_densities, exponential_step, self.waits, self.weights, self.known, start, 12)
        self.assert_close(fitted.trace, trace, 1e-12)
        self.assert_close(fitted["rates"], expected["rates"], 1e-10)

    def test_where_all_is_known_one_step_ends_it(self):
        fitted = self.fit("gmm", self.data, components, labels=self.write_data(self.truth), tol=0, max_iter=3, reg_covar=0)
        self.assertEqual(fitted.trace[1], fitted.trace[-1])
        for k in range(components):
            self.assert_close(fitted["means"][k], self.x[self.truth == k].mean(axis=0), 1e-12)
            self.assert_close(fitted["covariances"][k], np.cov(self.x[self.truth == k].T, bias=True), 1e-10, 1e-12)

    def test_components_have_the_numbers_of_their_labels(self):
        for order in ([0, 1, 2], [2, 0, 1]):
            known = np.where(self.known >= 0, np.array(order)[self.known], -1)
            for init in ("kmeans", "k-means++", "random-from-data"):
                fitted = self.fit("gmm", self.data, components, labels=self.write_data(known), init=init)
                distances = np.linalg.norm(fitted["means"][order] - centres, axis=1)
                self.assertLess(distances.max(), 0.5, (order, init))

    def test_the_same_on_all_ranks_threads_streamed_and_after_a_resume(self):
        def words(covariance):
            return {"covariance": covariance, "tol": 0, "max_iter": 5, **self.given}

        for covariance in ("full", "tied"):
            expected = bits_of(self.fit("gmm", self.data, components, threads=1, **words(covariance)).file)
            for ranks, threads, memory in ((2, 2, "1G"), (3, 1, "100K"), (4, 1, "1G")):
                fitted = self.fit("gmm", self.data, components, ranks=ranks, threads=threads, memory=memory, **words(covariance))
                self.assertEqual(bits_of(fitted.file), expected, (covariance, ranks))
        folder = self.path("")
        self.fit("gmm", self.data, components, checkpoint=folder, every=1, **(words("tied") | {"max_iter": 2}))
        resumed = self.fit("gmm", self.data, components, ranks=2, checkpoint=folder, resume=True, **words("tied"))
        self.assertEqual(bits_of(resumed.file), expected)

    def test_on_a_device(self):
        for model, data in (("gmm", "x"), ("exponential", "waits")):
            words = {"tol": 0, "max_iter": 5, **self.given}
            expected = self.fit(model, f"{self.file}:/{data}", components, **words)
            on_device = [self.fit(model, f"{self.file}:/{data}", components, ranks=ranks, device="generic", memory=memory, **words)
                         for ranks, memory in ((1, "1G"), (2, "100K"))]
            self.assertEqual(bits_of(on_device[1].file), bits_of(on_device[0].file))
            self.assert_close(on_device[0].trace, expected.trace, 1e-12)
            for name, values in expected.parameters.items():
                self.assert_close(on_device[0][name], values, 1e-9, 1e-9)

    def test_labels_that_cannot_be(self):
        for label, where in ((components, rows - 1), (0.5, 4097), (-2, 0), (np.nan, 5000)):
            known = self.known.astype(float)
            known[where] = label
            for ranks, device in ((1, "cpu"), (3, "cpu"), (2, "generic")):
                with self.subTest(label=label, ranks=ranks, device=device):
                    self.refuse_fit("gmm", self.data, components, ranks=ranks, status=data_status, labels=self.write_data(known),
                                    device=device, says=(f"the label of row {where} is", "from 0 to 2, or -1 where unknown"))
        self.refuse_fit("gmm", self.data, components, labels=self.write_data(self.known[1:]), says=f"{rows} rows")
        self.refuse_fit("gmm", self.data, components, labels=f"{self.file}:/known", status=usage_status,
                        init=f"labels:{self.file}:/known", says="--labels contradicts --init labels")
        self.refuse_fit("kmeans", self.data, components, labels=f"{self.file}:/known", status=usage_status, says="--labels")


if __name__ == "__main__":
    unittest.main()
