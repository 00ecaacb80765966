"""k-means that remembers of rows in memory what it knows: against plain loops, and against rows that are read anew."""

import json
import unittest

import numpy as np

from tally_cli import TallyTest, bits_of


def lloyd(x, w, centers, steps):
    """Lloyd's algorithm, every distance from differences; the inertia before each step and after the last."""
    centers, trace = centers.copy(), []
    for step in range(steps + 1):
        distances = ((x[:, None, :] - centers) ** 2).sum(axis=2)
        labels = distances.argmin(axis=1)
        trace.append(w @ distances[np.arange(len(x)), labels])
        for k in range(len(centers) if step < steps else 0):
            rows = labels == k
            if w[rows].sum() > 0:
                centers[k] = w[rows] @ x[rows] / w[rows].sum()
    return centers, labels, trace


class Remembered(TallyTest):
    columns = 8

    def setUp(self):
        super().setUp()
        random = np.random.default_rng(12)
        self.x = random.normal(size=(30000, self.columns))  # no clusters: rows change their centre until the end
        self.w = random.choice([0.5, 1, 2], size=len(self.x))
        self.data, self.weights = self.write_data(self.x), self.write_data(self.w)
        self.start_file = self.start(centers=self.x[:24])

    def fit_again(self, ranks=1, **options):
        return self.fit("kmeans", self.data, 24, ranks, init=self.start_file, weights=self.weights, tol=0, max_iter=40, **options)

    def test_as_plain_loops_have_it(self):
        fitted = self.fit_again()
        centers, labels, trace = lloyd(self.x, self.w, self.x[:24], 40)
        self.assertEqual(len(fitted.trace), len(trace))
        self.assert_close(fitted.trace, trace, 1e-11)
        self.assert_close(fitted["centers"], centers, 1e-9, 1e-11)
        np.testing.assert_array_equal(self.labels(fitted, self.data), labels)

    def test_same_bits_as_rows_that_are_read_anew(self):
        for precision in ("double", "single"):
            expected = bits_of(self.fit_again(memory="400K", precision=precision).file)
            for ranks in (1, 3):
                with self.subTest(precision=precision, ranks=ranks):
                    self.assertEqual(bits_of(self.fit_again(ranks, precision=precision).file), expected)

    def test_same_bits_of_starts_that_end_one_by_one(self):
        def fitted(ranks=1, **options):
            return bits_of(self.fit("kmeans", self.data, 24, ranks, init="random", n_init=4, seed=3, tol=1e-4, max_iter=60,
                                    **options).file)

        expected = fitted(memory="400K")
        for ranks in (1, 3):
            self.assertEqual(fitted(ranks), expected)

    def test_same_bits_after_a_resume(self):
        folder = self.path("")
        self.fit("kmeans", self.data, 24, init=self.start_file, weights=self.weights, tol=0, max_iter=20, checkpoint=folder)
        resumed = self.fit_again(checkpoint=folder, resume=True)
        self.assertEqual(bits_of(resumed.file), bits_of(self.fit_again().file))

    def test_a_plan_counts_it(self):
        def planned(*words):
            plan = json.loads(self.succeed("plan", "--json", "--", "fit", "kmeans", self.data, "--components", "24", *words).stdout)
            return plan["ranks"][0]["memory_needed_bytes"]

        rows = len(self.x)
        self.assertGreater(planned(), (8 * self.columns + 8) * rows)
        # Four starts are remembered, five would take more than rows of floats.
        self.assertGreater(planned("--n-init", "4") - planned("--n-init", "5"), 4 * 8 * rows - 200000)
        self.assertLess(planned("--memory", "400K"), 8 * self.columns * rows)


if __name__ == "__main__":
    unittest.main()
