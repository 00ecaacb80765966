"""The same bits however a fit is cut: ranks, threads, memory or stream, in one go or resumed."""

import itertools
import subprocess
import unittest

import h5py
import numpy as np

from tally_cli import TallyTest, command, mpirun, option_words

block_rows = 4096  # of narrow data
many_blocks = 50 * block_rows + 1237  # 51 blocks, the last one ragged
few_blocks = block_rows + 904  # two blocks: more ranks than blocks
columns, components, iterations = 3, 3, 5

models = {
    "gmm full": ("gmm", {"covariance": "full"}),
    "gmm tied": ("gmm", {"covariance": "tied"}),
    "gmm diag": ("gmm", {"covariance": "diag"}),
    "gmm spherical": ("gmm", {"covariance": "spherical"}),
    "kmeans": ("kmeans", {}),
    "poisson": ("poisson", {}),
    "categorical": ("categorical", {}),
    "bernoulli": ("bernoulli", {}),
}
data_sets = {"poisson": "counts", "categorical": "symbols", "bernoulli": "bits"}  # of others: x
settings = [("double", 1), ("single", 3)]
places = list(itertools.product((1, 2), ("in memory", "streamed")))  # threads, rows


def ways_of_setting(setting):
    """One way for each number of ranks: in the two settings all of them have one thread and two, in memory and streamed."""
    return [(ranks, *places[(ranks % 4) ^ (3 * setting)]) for ranks in (1, 2, 3, 4)]


def make_data(path, rows):
    """Clusters that overlap, so that no fit ends early, as numbers, counts, symbols and bits."""
    random = np.random.default_rng(20)
    cluster = random.integers(0, 3, rows)
    centres = np.array([[0.0, 0.0, 100.0], [2.0, 1.0, 99.0], [-1.0, 2.0, 101.0]])
    rates = np.array([[2.0, 5.0, 9.0], [4.0, 3.0, 6.0], [3.0, 4.0, 12.0]])
    with h5py.File(path, "w") as file:
        file["x"] = centres[cluster] + random.normal(size=(rows, columns))
        file["counts"] = random.poisson(rates[cluster]).astype("i4")
        file["symbols"] = (cluster[:, None] + random.integers(0, 3, (rows, columns))).astype("i2")
        file["bits"] = (random.uniform(size=(rows, columns)) < rates[cluster] / 15).astype("i1")
        file["weights"] = random.integers(0, 4, rows) / 4


def contents(path):
    """Everything a model file says, bytes for bytes, but for the command that wrote it."""
    found = {}

    def visit(name, item):
        for attribute, value in item.attrs.items():
            if attribute != "command":
                found[f"{name}@{attribute}"] = np.asarray(value).tobytes()
        if isinstance(item, h5py.Dataset):
            array = item[()]
            found[name] = (str(array.dtype), array.shape, array.tobytes())

    with h5py.File(path, "r") as file:
        visit("/", file)
        file.visititems(visit)
    return found


class ManyWays(TallyTest):
    """Fits the same thing in many ways."""

    def setUp(self):
        super().setUp()
        self.data = self.path()

    def fit_file(self, model, ranks=1, threads=1, rows="in memory", out=None, **options):
        """Fits behind mpirun, `rows` being where they are; returns the model file."""
        name, model_options = models[model]
        out = out or self.path()
        data = f"{self.data}:/{data_sets.get(name, 'x')}"
        options = {"components": components, "out": out, "threads": threads, "tol": 0, "max_iter": iterations,
                   "init": "random-from-data", **model_options, **options}
        if rows == "streamed":
            options["memory"] = "400K"
        line = [mpirun, "-n", str(ranks), command, "fit", name, data, *option_words(options)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(f"rows {rows}", done.stderr)
        return out

    def assert_same(self, actual, expected):
        actual, expected = contents(actual), contents(expected)
        self.assertIn("training/objective", expected)
        self.assertEqual(actual.keys(), expected.keys())
        self.assertEqual([name for name in expected if actual[name] != expected[name]], [])

    def resumed(self, model, first_rank_count, then_rank_count, **options):
        folder = self.path("")
        self.fit_file(model, first_rank_count, checkpoint=folder, every=1, **{**options, "max_iter": 2})
        return self.fit_file(model, then_rank_count, rows="streamed", threads=2, checkpoint=folder, resume=True,
                             **options)


class FitsInManyWays(ManyWays):
    def check_model(self, model):
        make_data(self.data, many_blocks)
        for setting, (precision, restarts) in enumerate(settings):
            options = {"precision": precision, "n_init": restarts}
            expected = self.fit_file(model, **options)
            with h5py.File(expected, "r") as file:
                self.assertEqual(file["training/objective"].shape, (iterations + 1,))
            for ranks, threads, rows in ways_of_setting(setting):
                with self.subTest(precision=precision, restarts=restarts, ranks=ranks, threads=threads, rows=rows):
                    self.assert_same(self.fit_file(model, ranks, threads, rows, **options), expected)
            with self.subTest(precision=precision, restarts=restarts, resumed=True):
                self.assert_same(self.resumed(model, 2, 3, **options), expected)


class SameBits(FitsInManyWays):
    """In many ways of a few models; every_model_test.py takes all."""

    def test_of_full_mixtures(self):
        self.check_model("gmm full")

    def test_of_tied_mixtures(self):
        self.check_model("gmm tied")

    def test_of_kmeans(self):
        self.check_model("kmeans")

    def test_of_mixtures_of_symbols(self):
        self.check_model("categorical")

    def test_with_ranks_without_rows(self):
        make_data(self.data, few_blocks)
        for model in models:
            expected = self.fit_file(model)
            with self.subTest(model=model):
                self.assert_same(self.fit_file(model, 4, threads=2), expected)

    def test_with_weights_and_every_start(self):
        make_data(self.data, many_blocks)
        for start in ("kmeans", "k-means++", "random"):
            options = {"init": start, "weights": f"{self.data}:/weights", "n_init": 2}
            expected = self.fit_file("gmm full", **options)
            with self.subTest(start=start):
                self.assert_same(self.fit_file("gmm full", 3, 2, "streamed", **options), expected)

    # In double: sums of single-precision blocks are short enough for a double to hold them exactly, most of the time.
    def test_is_lost_with_plain_sums(self):
        make_data(self.data, many_blocks)

        for model in models:
            alone, together = (self.fit_file(model, ranks, summation="plain") for ranks in (1, 3))

            with self.subTest(model=model), self.assertRaises(AssertionError):
                self.assert_same(together, alone)


if __name__ == "__main__":
    unittest.main()
