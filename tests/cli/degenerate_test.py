"""Components that their data do not determine: what --on-degenerate does about them, on any number of ranks alike."""

import json
import unittest

import h5py
import numpy as np

from tally_cli import TallyTest, bits_of, usage_status

duplicates, empty = "duplicates", "empty"


class Degenerate(TallyTest):
    """Two wide clouds and 40 equal rows: a component on the equal rows has no covariance. Or a component far from all."""

    def setUp(self):
        super().setUp()
        random = np.random.default_rng(12)
        cloud = np.concatenate([random.normal([0, 0], [3, 1], (300, 2)), random.normal([20, 5], 1, (100, 2))])
        self.data = {duplicates: self.write_data(np.concatenate([cloud, np.full((40, 2), 60.0)])), empty: self.write_data(cloud)}
        third = {duplicates: [60, 60], empty: [1e4, 1e4]}
        self.cloud = cloud
        self.inits = {name: {shape: self.start(weights=[0.5, 0.4, 0.1], means=[[0, 0], [20, 5], third[name]], covariances=one)
                             for shape, one in (("full", [np.eye(2)] * 3), ("diag", np.ones((3, 2))), ("spherical", np.ones(3)),
                                                ("tied", np.eye(2)))} for name in third}

    def fit_case(self, name, shape, ranks=1, **options):
        return self.fit("gmm", self.data[name], 3, ranks, covariance=shape, init=self.inits[name][shape],
                        **{"reg_covar": 0, "max_iter": 200, **options})

    def events(self, log):
        with open(log, encoding="utf-8") as lines:
            return [event for event in map(json.loads, lines) if event["event"] == "degenerate"]

    def test_error_names_component_and_iteration(self):
        for shape in ("full", "diag", "spherical", "tied"):
            self.refuse_fit("gmm", self.data[empty], 3, covariance=shape, init=self.inits[empty][shape], on_degenerate="error",
                            says=["component 2 is empty", "iteration 0"])
        for shape in ("full", "diag", "spherical"):
            self.refuse_fit("gmm", self.data[duplicates], 3, covariance=shape, init=self.inits[duplicates][shape], reg_covar=1e-3,
                            on_degenerate="error", says=["component 2 collapsed in column 0", "iteration 0"])

    def test_floor_is_the_default_and_says_so_once(self):
        log = self.path(".log")
        fitted = self.fit_case(empty, "full", log=log, tol=0, max_iter=5)
        self.assert_close(fitted["means"][2], [1e4, 1e4], 1e-12)
        events = self.events(log)
        self.assertEqual([(e["component"], e["column"], e["action"]) for e in events], [(2, None, "floor")])
        log = self.path(".log")
        fitted = self.fit_case(duplicates, "full", reg_covar=1e-3, log=log, tol=0, max_iter=5)
        self.assert_close(fitted["covariances"][2], 1e-3 * np.eye(2), 1e-7, absolute=1e-10)
        self.assertEqual([(e["component"], e["column"]) for e in self.events(log)], [(2, 0)])
        named = self.fit_case(duplicates, "full", reg_covar=1e-3, tol=0, max_iter=5, on_degenerate="floor")
        self.assertEqual(bits_of(named.file), bits_of(fitted.file))

    def test_prune_leaves_fewer_components(self):
        for name in (empty, duplicates):
            for shape in ("full", "diag", "spherical"):
                with self.subTest(name=name, shape=shape):
                    log = self.path(".log")
                    fitted = self.fit_case(name, shape, on_degenerate="prune", log=log)
                    self.assertEqual([(e["component"], e["iteration"]) for e in self.events(log)], [(2, 0)])
                    self.assertEqual(fitted.attributes["components"], 2)
                    self.assertEqual(len(fitted["weights"]), 2)
                    self.assertEqual(fitted["means"].shape, (2, 2))
                    self.assert_close(fitted["weights"].sum(), 1, 1e-12)
                    two = self.fit("gmm", self.data[empty], 2, covariance=shape, max_iter=0)
                    self.assertEqual(fitted.training["free_parameters"], two.training["free_parameters"])
                    self.assertEqual(set(self.labels(fitted, self.data[empty])), {0, 1})

    def test_a_pruned_fit_is_that_of_the_others(self):
        pruned = self.fit_case(empty, "full", on_degenerate="prune", tol=0, max_iter=30)
        init = self.start(weights=[5 / 9, 4 / 9], means=[[0, 0], [20, 5]], covariances=[np.eye(2)] * 2)
        alone = self.fit("gmm", self.data[empty], 2, reg_covar=0, init=init, tol=0, max_iter=30)
        self.assert_close(pruned["means"], alone["means"], 1e-9)
        self.assert_close(pruned["covariances"], alone["covariances"], 1e-9, absolute=1e-9)
        self.assert_close(pruned.trace[-1], alone.trace[-1], 1e-12)

    def test_tied_covariances_stay_whole_where_one_is_pruned(self):
        pruned = self.fit_case(empty, "tied", on_degenerate="prune")
        self.assertEqual(pruned["covariances"].shape, (2, 2))
        self.assertEqual(len(pruned["weights"]), 2)

    def test_reseed_splits_the_heaviest_component(self):
        start = {"full": [np.diag([9.0, 1.0]), np.eye(2)], "diag": [[9.0, 1.0], [1.0, 1.0]], "spherical": [5.0, 1.0],
                 "tied": np.diag([9.0, 1.0])}
        for shape in start:
            with self.subTest(shape=shape):
                log = self.path(".log")
                once = self.fit_case(empty, shape, on_degenerate="reseed", log=log, max_iter=1, tol=0)
                self.assertEqual([(e["component"], e["action"]) for e in self.events(log)], [(2, "reseed")])
                self.assert_close(once["weights"][0], once["weights"][2], 1e-15)
                self.assert_close(once["weights"].sum(), 1, 1e-12)
                floor = self.fit_case(empty, shape, max_iter=1, tol=0)  # the same M-step of the others
                self.assert_close((once["means"][0] + once["means"][2]) / 2, floor["means"][0], 1e-9, absolute=1e-12)
                if shape == "full":
                    step = (once["means"][2] - once["means"][0]) / 2
                    self.assert_close(once["covariances"][0] + np.outer(step, step), floor["covariances"][0], 1e-9, absolute=1e-12)
                    self.assert_close(step @ np.linalg.solve(floor["covariances"][0], step), 0.25, 1e-9)
                fitted = self.fit_case(empty, shape, on_degenerate="reseed", tol=1e-9, max_iter=3000)
                two = self.fit_case(empty, shape, tol=1e-9, max_iter=3000)
                self.assertGreater(fitted.trace[-1], two.trace[-1])

    def test_a_collapsed_component_is_reseeded(self):
        fitted = self.fit_case(duplicates, "diag", on_degenerate="reseed", reg_covar=1e-6, max_iter=1, tol=0)
        self.assertLess(np.abs(fitted["means"]).max(), 50)
        self.assertGreater(fitted["covariances"].min(), 0.1)

    def test_the_same_bits_on_all_ranks_and_after_a_resume(self):
        for policy in ("reseed", "prune"):
            options = {"on_degenerate": policy, "max_iter": 12, "tol": 0}
            expected = bits_of(self.fit_case(empty, "full", **options).file)
            for ranks in (2, 3, 4):
                self.assertEqual(bits_of(self.fit_case(empty, "full", ranks, **options).file), expected)
            folder = self.path("")
            self.fit_case(empty, "full", **{**options, "max_iter": 5}, checkpoint=folder, every=1)
            self.assertEqual(bits_of(self.fit_case(empty, "full", 2, **options, checkpoint=folder, resume=True).file), expected)
            self.refuse_fit("gmm", self.data[empty], 3, init=self.inits[empty]["full"], reg_covar=0, max_iter=12, tol=0.0,
                            checkpoint=folder, resume=True, status=usage_status, says="checkpoint")

    def test_a_plane_is_a_collapse_whatever_its_slope(self):
        random = np.random.default_rng(5)
        line = random.normal(40, 2, 60)
        for slope in (0.5, 3.0):
            data = self.write_data(np.concatenate([self.cloud, np.column_stack([line, slope * line])]))
            init = self.start(weights=[0.5, 0.4, 0.1], means=[[0, 0], [20, 5], [40, 40 * slope]], covariances=[np.eye(2)] * 3)
            self.refuse_fit("gmm", data, 3, init=init, reg_covar=1e-4, on_degenerate="error", says="component 2 collapsed in column 1")

    def test_a_constant_column_collapses_no_component(self):
        x = np.column_stack([np.full(len(self.cloud), 7.0), self.cloud])
        log = self.path(".log")
        for shape in ("full", "diag"):
            self.fit("gmm", self.write_data(x), 2, covariance=shape, on_degenerate="error", log=log, max_iter=5)
            self.assertEqual(self.events(log), [])

    def test_frozen_covariances_do_not_collapse(self):
        options = {"init": self.inits[duplicates]["full"], "freeze": "covariances", "max_iter": 3, "on_degenerate": "error"}
        fitted = self.fit("gmm", self.data[duplicates], 3, **options)
        np.testing.assert_array_equal(fitted["covariances"], [np.eye(2)] * 3)

    def test_a_prior_and_a_new_component_share_all_weight(self):
        fitted = self.fit_case(empty, "full", on_degenerate="reseed", weight_concentration_prior=30, max_iter=1, tol=0)
        self.assert_close(fitted["weights"].sum(), 1, 1e-12)
        self.assertEqual(self.fit("gmm", self.data[empty], 3, init="model:" + fitted.file, max_iter=2).attributes["components"], 3)

    def test_nothing_is_left(self):
        x = np.repeat([[0.0], [4.0], [9.0]], 20, axis=0)
        init = self.start(weights=[0.3, 0.3, 0.4], means=[[0], [4], [9]], covariances=[[[0.1]]] * 3)
        self.refuse_fit("gmm", self.write_data(x), 3, init=init, on_degenerate="prune", says="every component is degenerate")

    def test_shared_parts_stay_shared(self):
        init = self.start(weights=[0.5, 0.4, 0.1], means=[[0, 0], [20, 5], [1e4, 1e4]], covariances=np.ones((3, 2)))
        fitted = self.fit("gmm", self.data[empty], 3, covariance="EVI", init=init, reg_covar=0, on_degenerate="reseed", max_iter=1)
        volumes = fitted["covariances"].prod(axis=1)
        self.assert_close(volumes, volumes[0], 1e-9)

    def test_select_reports_too(self):
        x = np.concatenate([self.cloud, np.full((150, 2), 60.0)])
        log = self.path(".log")
        done = self.succeed("select", "gmm", self.write_data(x), "-k", "3", "--covariance", "full,diag", "--log", log, "--max-iter", 5)
        found = self.events(log)
        self.assertEqual({event["model"] for event in found}, {0, 1})
        self.assertIn("diag, 3 components: component", done.stderr)

    def test_other_mixtures(self):
        counts = self.write_data(np.random.default_rng(2).poisson([[2, 9]] * 40 + [[20, 1]] * 10))
        init = self.start(weights=[0.4, 0.3, 0.3], rates=[[2, 9], [20, 1], [1e6, 1e6]])
        fitted = self.fit("poisson", counts, 3, init=init, on_degenerate="prune")
        self.assertEqual(len(fitted["weights"]), 2)
        self.refuse_fit("poisson", counts, 3, init=init, on_degenerate="error", says="component 2 is empty")
        self.refuse_fit("poisson", counts, 3, on_degenerate="reseed", status=usage_status, says="no direction")

    def test_where_it_means_nothing(self):
        for model, options, says in (("kmeans", {"on_degenerate": "prune"}, "kmeans"), ("hmm", {"on_degenerate": "reseed"}, "hmm"),
                                     ("gmm", {"on_degenerate": "reseed", "freeze": "means"}, "frozen"),
                                     ("gmm", {"on_degenerate": "prune", "weight_concentration_prior": 2}, "prior"),
                                     ("gmm", {"on_degenerate": "prune", "labels": self.write(y=np.zeros(len(self.cloud), int)) + ":/y"}, "labels"),
                                     ("gmm", {"on_degenerate": "repair"}, "floor, reseed, prune and error")):
            with self.subTest(options=options):
                self.refuse_fit(model, self.data[empty], 2, status=usage_status, says=says, **options)
        self.refuse("select", "gmm", self.data[empty], "-k", "1:2", "--on-degenerate", "prune", status=usage_status, says="fit prunes")


if __name__ == "__main__":
    unittest.main()
