"""The 14 parameterisations of covariances against mclust 6.0.0: me() with emControl(tol=1e-13, itmax=1e6) from labels, on three
data sets. Models whose M-step has a closed form agree at every iteration; VEI, VEE, VEV and EVE, where mclust's M-steps
stop before their maximum, at the end. mclust's VVE ends below the maximum: a search of the angle finds Tally's M-step."""

import unittest

import numpy as np

from tally_cli import Case, TallyTest, covariance_matrices, usage_status

closed_form = ("EII", "VII", "EEI", "EVI", "VVI", "EEE", "EEV", "EVV", "VVV")
names = {"VVV": "full", "EEE": "tied", "VVI": "diag", "VII": "spherical"}


def as_matrices(fitted, model, components, columns):
    shape = "spherical" if model[1] == "I" else "diag" if model[2] == "I" else "full"
    matrices = covariance_matrices(fitted["covariances"], shape, columns)
    return np.broadcast_to(matrices, (components, columns, columns))


def log_likelihood(x, weights, means, covariances):
    logs = []
    for weight, mean, covariance in zip(weights, means, covariances):
        deviations = x - mean
        squares = np.einsum("ni,ij,nj->n", deviations, np.linalg.inv(covariance), deviations)
        logs.append(np.log(weight) - 0.5 * (np.linalg.slogdet(2 * np.pi * covariance)[1] + squares))
    return np.logaddexp.reduce(logs).sum()


class Mclust(TallyTest):
    def check(self, name):
        case = Case("gmm_mclust14_" + name)
        self.assertIn("1e-9 rel at every recorded iteration", case.golden["tolerance"])
        rows, columns = case.array("X").shape
        for key, golden in case.golden["fits"].items():
            model, components = golden["model"], golden["G"]
            with self.subTest(fit=key):
                fitted = self.fit("gmm", case.place("X"), components, 3 if components == 2 else 1, covariance=model, reg_covar=0,
                                  init="labels:" + case.place(f"start_labels_G{components}"), tol=1e-14, max_iter=20000)
                self.assertEqual(fitted.training["free_parameters"], golden["df"])
                closed = model in closed_form
                if closed:
                    for step, expected in zip((0, 1, 2, 10), golden["loglik_after_Msteps_1_2_3_11"]):
                        if step < len(fitted.trace):
                            self.assert_close(fitted.trace[step], expected, 1e-9)
                self.assertTrue((np.diff(fitted.trace) > -1e-9 * abs(fitted.trace[-1])).all(), "the likelihood fell")
                mine = as_matrices(fitted, model, components, columns)
                by_hand = log_likelihood(case.array("X"), fitted["weights"], fitted["means"], mine)
                self.assert_close(fitted.trace[-1], by_hand, 1e-9)
                if model == "VVE":
                    self.assertGreater(fitted.trace[-1], golden["loglik_converged"])
                    continue
                self.assert_close(fitted.trace[-1], golden["loglik_converged"], 1e-9 if closed else 1e-6)
                bic = 2 * fitted.trace[-1] - golden["df"] * np.log(rows)
                self.assert_close(bic, golden["bic_converged"], 1e-9 if closed else 1e-6)
                expected = np.array(golden["sigma"])
                deviations = np.sqrt(np.einsum("kii->ki", expected))
                scale = deviations[:, :, None] * deviations[:, None, :]
                self.assert_close(fitted["weights"], golden["pro"], 1e-4)
                self.assert_close(fitted["means"], golden["mean"], 1e-4)
                self.assert_close(mine / scale, expected / scale, 1e-4, absolute=1e-4)

    def test_faithful(self):
        self.check("faithful")

    def test_iris(self):
        self.check("iris")

    def test_diabetes(self):
        self.check("diabetes")


    def test_the_axes_of_vve_are_those_of_a_search(self):
        case = Case("gmm_mclust14_faithful")
        x, labels = case.array("X"), case.array("start_labels_G2")
        parts = [x[labels == k] for k in (0, 1)]
        counts = np.array([len(part) for part in parts])
        covariances = [np.cov(part.T, bias=True) for part in parts]

        def with_axes(angle):
            axes = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
            return [axes.T @ np.diag(np.diag(axes @ each @ axes.T)) @ axes for each in covariances]

        angles = np.linspace(-np.pi / 4, np.pi / 4, 2001)
        for _ in range(4):
            deviances = [sum(n * np.linalg.slogdet(each)[1] for n, each in zip(counts, with_axes(angle))) for angle in angles]
            best = angles[np.argmin(deviances)]
            angles = np.linspace(best - 2 * (angles[1] - angles[0]), best + 2 * (angles[1] - angles[0]), 201)
        fitted = self.fit("gmm", case.place("X"), 2, covariance="VVE", reg_covar=0, max_iter=0,
                          init="labels:" + case.place("start_labels_G2"))
        expected = with_axes(best)
        self.assert_close(fitted["covariances"], expected, 1e-5)
        means = [part.mean(axis=0) for part in parts]
        self.assert_close(fitted.trace[0], log_likelihood(x, counts / len(x), means, expected), 1e-8)


class Words(TallyTest):
    def test_four_have_two_names(self):
        case = Case("gmm_mclust14_faithful")
        for letters, word in names.items():
            with self.subTest(word=word):
                options = {"init": "labels:" + case.place("start_labels_G2"), "max_iter": 3}
                one = self.fit("gmm", case.place("X"), 2, covariance=letters, **options)
                other = self.fit("gmm", case.place("X"), 2, covariance=word, **options)
                np.testing.assert_array_equal(one.trace, other.trace)

    def test_others_are_refused(self):
        case = Case("gmm_mclust14_faithful")
        for word in ("EIE", "vvv", "all"):
            self.refuse_fit("gmm", case.place("X"), 2, covariance=word, status=usage_status, says=[word, "full", "VEV"])

    def test_a_component_without_volume_is_named(self):
        x = np.random.default_rng(3).normal(size=(60, 2))
        x[30:] = [5, 5]
        options = {"reg_covar": 0, "init": "labels:" + self.write(y=np.repeat([0, 1], 30)) + ":/y"}
        data = self.write_data(x)
        for word in ("VEI", "EVI", "VEE", "EVE", "VVE", "VEV", "EVV"):
            with self.subTest(word=word):
                self.refuse_fit("gmm", data, 2, covariance=word, says="component 1", **options)
        for word in ("EII", "EEI", "EEV", "EEE"):
            with self.subTest(word=word):
                self.fit("gmm", data, 2, covariance=word, **options)


if __name__ == "__main__":
    unittest.main()
