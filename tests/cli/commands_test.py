"""The commands around `fit`, against numpy: predict, score, sample, info, convert, generate, models."""

import json
import math
import os
import subprocess
import tempfile
import unittest

import h5py
import numpy as np

from tally_cli import environment

TALLY = os.environ["TALLY"]
MPIRUN = os.environ["TALLY_MPIRUN"]
USAGE, DATA = 2, 3
ROWS = 9001  # three blocks of 4096, the last one ragged
# Two programs that evaluate the same formulas in double, on sums of thousands of terms.
ROUNDING = 1e-9


def run(*words, ranks=1, status=0, **options):
    launcher = [] if ranks == 1 else [MPIRUN, "-n", str(ranks)]
    done = subprocess.run(launcher + [TALLY, *map(str, words)], capture_output=True, text=True, timeout=120,
                          **{"env": environment(), **options})
    if done.returncode != status:
        raise AssertionError(f"status {done.returncode}, not {status}: {words}\n{done.stdout}{done.stderr}")
    return done


# What can be generated, and how a fit of it is asked for beside that.
planted_kinds = {"gmm": (), "kmeans": (), "poisson": (), "categorical": (), "bernoulli": (),
                 "exponential": (), "gamma": (), "binomial": ("--trials", "10"), "multinomial": (), "von-mises-fisher": (), "student-t": (),
                 "hmm": ("--emission", "gaussian", "--covariance", "spherical")}


def dataset(file, path):
    with h5py.File(file, "r") as opened:
        return opened[path][...]


def contents(file):
    with open(file, "rb") as opened:
        return opened.read()


def gaussian_log_densities(x, weights, means, covariances):
    columns = []
    for weight, mean, covariance in zip(weights, means, covariances):
        factor = np.linalg.cholesky(covariance)
        z = np.linalg.solve(factor, (x - mean).T)
        log_norm = -0.5 * len(mean) * math.log(2 * math.pi) - np.log(np.diag(factor)).sum()
        columns.append(math.log(weight) + log_norm - 0.5 * (z**2).sum(axis=0))
    return np.stack(columns, axis=1)


def log_sum_exp(values):
    largest = values.max(axis=1)
    return largest + np.log(np.exp(values - largest[:, None]).sum(axis=1))


class Commands(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.previous = os.getcwd()
        os.chdir(cls.folder.name)
        run("generate", "gmm", "--rows", ROWS, "--columns", 4, "--components", 3, "--seed", 7, "--labels", "--out", "g.h5")
        run("fit", "gmm", "g.h5:/x", "-k", 3, "--init", "parameters:g.planted.h5", "--max-iter", 3, "-q", "-o", "gmm.h5")
        run("fit", "kmeans", "g.h5:/x", "-k", 3, "--max-iter", 5, "-q", "-o", "kmeans.h5")
        run("generate", "poisson", "--rows", ROWS, "--columns", 2, "--components", 2, "--out", "c.h5")
        run("fit", "poisson", "c.h5:/x", "-k", 2, "--max-iter", 3, "-q", "-o", "poisson.h5")
        cls.x = dataset("g.h5", "x")
        cls.log_densities = gaussian_log_densities(
            cls.x, *(dataset("gmm.h5", "parameters/" + name) for name in ("weights", "means", "covariances")))
        with h5py.File("w.h5", "w") as file:
            file["w"] = np.arange(ROWS) % 4
            file["negative"] = np.where(np.arange(ROWS) == 5000, -1.0, 1.0)

    @classmethod
    def tearDownClass(cls):
        os.chdir(cls.previous)
        cls.folder.cleanup()

    def on_ranks(self, *words, out, more=()):
        """Runs the command to `out` on 1 and on 3 ranks, in small rounds and large, and expects the same bytes."""
        files = []
        for name, ranks, extra in (("one", 1, ()), ("three", 3, ()), *((name, 3, extra) for name, extra in more)):
            files.append(f"{name}-{out}")
            run(*words, "--out", files[-1], *extra, ranks=ranks)
        for file in files[1:]:
            self.assertEqual(contents(files[0]), contents(file), file)
        return files[0]

    def fails(self, *words, status, message, ranks=(1, 3)):
        """Expects one message from one rank, and no file beside those that are there."""
        before = sorted(os.listdir("."))
        for count in ranks:
            done = run(*words, ranks=count, status=status)
            self.assertEqual(done.stderr.count("tally: error"), 1, done.stderr)
            self.assertRegex(done.stderr, message)
            self.assertEqual(sorted(os.listdir(".")), before)

    # predict

    def test_PredictGivesTheMostLikelyComponent(self):
        file = self.on_ranks("predict", "gmm.h5", "g.h5:/x", out="labels.h5",
                             more=[("rounds", ("--memory", "1K", "--threads", 2))])

        labels = dataset(file, "labels")

        self.assertEqual(labels.dtype, np.int64)
        np.testing.assert_array_equal(labels, self.log_densities.argmax(axis=1))

    def test_ProbaGivesResponsibilitiesAndLabelsBeside(self):
        file = self.on_ranks("predict", "gmm.h5", "g.h5:/x", "--proba", "--labels", out="proba.h5",
                             more=[("rounds", ("--memory", "1K", "--threads", 2))])

        expected = np.exp(self.log_densities - log_sum_exp(self.log_densities)[:, None])

        np.testing.assert_allclose(dataset(file, "responsibilities"), expected, atol=ROUNDING)
        np.testing.assert_array_equal(dataset(file, "labels"), expected.argmax(axis=1))

    def test_KmeansPredictsTheNearestCentre(self):
        file = self.on_ranks("predict", "kmeans.h5", "g.h5:/x", out="nearest.h5")

        distances = ((self.x[:, None, :] - dataset("kmeans.h5", "parameters/centers")) ** 2).sum(axis=2)

        np.testing.assert_array_equal(dataset(file, "labels"), distances.argmin(axis=1))

    def test_MoreRanksThanBlocksPredictTheSame(self):
        with h5py.File("few.h5", "w") as file:
            file["x"] = self.x[:10]

        file = self.on_ranks("predict", "gmm.h5", "few.h5:/x", out="few-labels.h5")

        np.testing.assert_array_equal(dataset(file, "labels"), self.log_densities[:10].argmax(axis=1))

    def test_OutNamesTheDataSet(self):
        run("predict", "gmm.h5", "g.h5:/x", "--out", "named.h5:/a/b")

        self.assertEqual(dataset("named.h5", "a/b").shape, (ROWS,))

    # score

    def test_ScoreIsTheSameOnAnyNumberOfRanksAndThreads(self):
        run("sample", "gmm.h5", "--rows", 100001, "--out", "many.h5")

        reports = [run("score", model, "many.h5:/x", "--json", "--threads", threads, ranks=ranks).stdout
                   for model in ("gmm.h5", "kmeans.h5") for ranks, threads in ((1, 1), (1, 3), (2, 1), (3, 2), (4, 1))]

        self.assertEqual(len(set(reports)), 2)

    def test_ScoreSumsTheLogLikelihood(self):
        reports = [run("score", "gmm.h5", "g.h5:/x", "--json", "--threads", threads, ranks=ranks).stdout
                   for ranks, threads in ((1, 1), (3, 2))]

        score = json.loads(reports[0])
        total, free = log_sum_exp(self.log_densities).sum(), 2 + 3 * 4 + 3 * 10

        self.assertEqual(len(set(reports)), 1)
        np.testing.assert_allclose(score["total"], total, rtol=ROUNDING)
        np.testing.assert_allclose(score["mean"], total / ROWS, rtol=ROUNDING)
        np.testing.assert_allclose(score["bic"], free * math.log(ROWS) - 2 * total, rtol=ROUNDING)
        np.testing.assert_allclose(score["aic"], 2 * free - 2 * total, rtol=ROUNDING)
        self.assertEqual((score["rows"], score["weight"], score["free_parameters"]), (ROWS, ROWS, free))

    def test_WeightsCountRowsAsCopies(self):
        with h5py.File("copies.h5", "w") as file:
            file["x"] = np.repeat(self.x, np.arange(ROWS) % 4, axis=0)

        weighted = json.loads(run("score", "gmm.h5", "g.h5:/x", "--weights", "w.h5:/w", "--json", ranks=3).stdout)
        copied = json.loads(run("score", "gmm.h5", "copies.h5:/x", "--json").stdout)

        self.assertEqual(weighted["weight"], copied["rows"])
        for name in ("total", "mean", "bic", "aic"):
            np.testing.assert_allclose(weighted[name], copied[name], rtol=ROUNDING)

    def test_PerRowGivesEachRowsLogLikelihood(self):
        for file, ranks in (("row1.h5", 1), ("row3.h5", 3)):
            run("score", "gmm.h5", "g.h5:/x", "--per-row", file + ":/l", "--memory", "1K", ranks=ranks)

        np.testing.assert_allclose(dataset("row1.h5", "l"), log_sum_exp(self.log_densities), rtol=ROUNDING)
        self.assertEqual(contents("row1.h5"), contents("row3.h5"))

    def test_KmeansScoresInertia(self):
        score = json.loads(run("score", "kmeans.h5", "g.h5:/x", "--json", ranks=3).stdout)

        distances = ((self.x[:, None, :] - dataset("kmeans.h5", "parameters/centers")) ** 2).sum(axis=2)

        self.assertEqual(score["objective"], "inertia")
        np.testing.assert_allclose(score["total"], distances.min(axis=1).sum(), rtol=ROUNDING)
        self.assertNotIn("bic", score)

    def test_PoissonScoresLogLikelihoodOfCounts(self):
        score = json.loads(run("score", "poisson.h5", "c.h5:/x", "--json", ranks=3).stdout)

        x = dataset("c.h5", "x")
        weights, rates = (dataset("poisson.h5", "parameters/" + name) for name in ("weights", "rates"))
        log_factorial = np.vectorize(math.lgamma)(x + 1)
        terms = [np.log(w) + (x * np.log(r) - r - log_factorial).sum(axis=1) for w, r in zip(weights, rates)]

        np.testing.assert_allclose(score["total"], log_sum_exp(np.stack(terms, axis=1)).sum(), rtol=ROUNDING)

    def test_ImpossibleRowsAreCounted(self):
        with h5py.File("zero.h5", "w") as file:
            file["x"] = np.zeros((100, 2))
        run("fit", "poisson", "zero.h5:/x", "-k", 1, "-q", "-o", "zero-model.h5")
        with h5py.File("possible.h5", "w") as file:
            file["x"] = np.array([[0, 0], [0, 3], [1, 0], [0, 0]])

        score = json.loads(run("score", "zero-model.h5", "possible.h5:/x", "--json").stdout)
        text = run("score", "zero-model.h5", "possible.h5:/x").stdout

        self.assertEqual(score["impossible_rows"], 2)
        self.assertIn("2 of the rows are impossible", text)
        self.assertIn("-inf", text)

    # sample and generate

    def test_SamplesFollowTheModel(self):
        file = self.on_ranks("sample", "gmm.h5", "--rows", 20000, "--labels", "--seed", 3, out="sample.h5",
                             more=[("threads", ("--threads", 2))])

        x, labels = dataset(file, "x"), dataset(file, "labels")
        weights, means, covariances = (dataset("gmm.h5", "parameters/" + n) for n in ("weights", "means", "covariances"))

        self.assertEqual(len(np.unique(x, axis=0)), 20000)
        for k in range(3):
            mine = x[labels == k]
            error = 5 / math.sqrt(len(mine))  # five standard errors of a mean
            self.assertLess(abs(len(mine) / 20000 - weights[k]), 5 * math.sqrt(weights[k] / 20000))
            self.assertTrue((abs(mine.mean(axis=0) - means[k]) < error * np.sqrt(np.diag(covariances[k]))).all())
            deviations = np.sqrt(np.diag(covariances[k]))
            scaled = (np.cov(mine.T) - covariances[k]) / np.outer(deviations, deviations)
            self.assertLess(abs(scaled).max(), 1.5 * error)

    def test_SeedsGiveOtherRowsAndTheFirstRowsStay(self):
        for name, rows, seed in (("s1.h5", 100, 1), ("s2.h5", 100, 2), ("s3.h5", 200, 1)):
            run("sample", "gmm.h5", "--rows", rows, "--seed", seed, "--out", name)

        self.assertFalse((dataset("s1.h5", "x") == dataset("s2.h5", "x")).any())
        np.testing.assert_array_equal(dataset("s1.h5", "x"), dataset("s3.h5", "x")[:100])

    def test_GenerateGivesTheSameRowsOnAnyNumberOfRanks(self):
        for kind in planted_kinds:
            file = self.on_ranks("generate", kind, "--rows", ROWS, "--columns", 3, "--components", 4, "--labels",
                                 "--float32", out=kind + "-generated.h5", more=[("threads", ("--threads", 2))])

            self.assertEqual(dataset(file, "x").dtype, np.float32)
            self.assertEqual(dataset(file, "x").shape, (ROWS, 3))
            self.assertEqual(sorted(set(dataset(file, "labels"))), [0, 1, 2, 3])

    def test_PlantedParametersAreThoseOfTheRows(self):
        labels = dataset("g.h5", "labels")

        for k in range(3):
            mine = self.x[labels == k]
            deviations = np.sqrt(np.diag(dataset("g.planted.h5", "covariances")[k]))
            error = abs(mine.mean(axis=0) - dataset("g.planted.h5", "means")[k]) / deviations
            self.assertLess(error.max(), 5 / math.sqrt(len(mine)))

    def test_EveryPlantedFileStartsAFit(self):
        for kind in planted_kinds:
            run("generate", kind, "--rows", 1000, "--out", "start.h5")

            run("fit", kind, "start.h5:/x", "-k", 3, "--init", "parameters:start.planted.h5", "--max-iter", 1, "-q",
                *planted_kinds[kind], "-o", "started.h5")

    def test_GeneratedSymbolsAndBitsAreThosePlanted(self):
        for kind in ("categorical", "bernoulli"):
            run("generate", kind, "--rows", 20000, "--labels", "--separation", 2, "--out", "planted.h5")
            x, labels = dataset("planted.h5", "x"), dataset("planted.h5", "labels")
            planted = dataset("planted.planted.h5", "probabilities")

            for k in range(3):
                mine = x[labels == k]
                shares = (mine[:, :, None] == np.arange(4)).mean(axis=0) if kind == "categorical" else mine.mean(axis=0)
                self.assertLess(abs(shares - planted[k]).max(), 2.5 / math.sqrt(len(mine)))  # five standard deviations

    def test_GeneratedStatesLast(self):
        run("generate", "hmm", "--rows", 20000, "--labels", "--components", 4, "--out", "chain.h5")
        states = dataset("chain.h5", "labels")

        self.assertAlmostEqual((states[1:] == states[:-1]).mean(), 0.9, delta=5 * math.sqrt(0.09 / len(states)))

    def test_GeneratedSequencesBeginAnew(self):
        steps, sequences, states = 4, 6000, 4
        with h5py.File("lengths.h5", "w") as file:
            file["lengths"] = np.full(sequences, steps)

        file = self.on_ranks("generate", "hmm", "--lengths", "lengths.h5:/lengths", "--components", states, "--labels",
                             out="sequences.h5")

        labels = dataset(file, "labels")
        self.assertEqual(dataset(file, "x").shape, (sequences * steps, 2))
        stays = labels[1:] == labels[:-1]
        across = stays[steps - 1::steps].mean()
        within = np.append(stays, False).reshape(sequences, steps)[:, :-1].mean()
        self.assertAlmostEqual(across, 1 / states, delta=5 * math.sqrt(3 / 16 / sequences))
        self.assertAlmostEqual(within, 0.9, delta=5 * math.sqrt(0.09 / (3 * sequences)))

    # convert

    def test_ConvertReadsText(self):
        with open("t.csv", "w") as file:
            file.write("a,b,c\n1,2.5,-3\n4,nan,1e300\n")

        run("convert", "t.csv", "t.h5")

        np.testing.assert_array_equal(dataset("t.h5", "x"), [[1, 2.5, -3], [4, np.nan, 1e300]])

    def test_ConvertReadsNumpyAndKeepsChosenColumns(self):
        values = np.random.default_rng(0).normal(size=(ROWS, 6))
        np.save("n.npy", values)

        run("convert", "n.npy", "n.h5:/a/b", "--columns", "5,1:3", "--float32", ranks=3)
        run("convert", "n.h5:/a/b", "n2.h5", "--columns", "1:")

        np.testing.assert_array_equal(dataset("n.h5", "a/b"), values[:, [5, 1, 2]].astype(np.float32))
        np.testing.assert_array_equal(dataset("n2.h5", "x"), values[:, 1:3].astype(np.float32).astype(float))

    # info and models

    def test_InfoShowsAModel(self):
        info = json.loads(run("info", "gmm.h5", "--json", ranks=3).stdout)
        text = run("info", "gmm.h5").stdout

        self.assertEqual((info["kind"], info["model"], info["components"], info["columns"]), ("model", "gmm", 3, 4))
        self.assertEqual(info["options"]["covariance"], "full")
        self.assertEqual(info["parameters"]["covariances"]["shape"], [3, 4, 4])
        np.testing.assert_array_equal(info["trace"], dataset("gmm.h5", "training/objective"))
        for word in ("3 components of 4 columns", "means (3 x 4)", "covariance", "g.h5:/x"):
            self.assertIn(word, text)

    def test_InfoTellsCheckpointsFromModels(self):
        run("fit", "kmeans", "g.h5:/x", "-k", 3, "--max-iter", 2, "--tol", 0, "--checkpoint", "saved", "--every", 1, "-q",
            "-o", "k.h5")
        file = os.path.join("saved", sorted(os.listdir("saved"))[-1])

        self.assertIn("checkpoint", run("info", file).stdout)
        self.assertEqual(json.loads(run("info", file, "--json").stdout)["kind"], "checkpoint")

    def test_InfoShowsDataSets(self):
        with h5py.File("d.h5", "w") as file:
            file.create_dataset("deep/x", data=self.x.astype(np.float32), chunks=(1000, 4), compression="gzip")
            file["y"] = np.arange(5, dtype=np.int16)
            file["name"] = "text"

        listed = {entry["path"]: entry for entry in json.loads(run("info", "d.h5", "--json").stdout)["datasets"]}
        columns = json.loads(run("info", "d.h5:/deep/x", "--json").stdout)["columns"]
        text = run("info", "d.h5").stdout

        self.assertEqual(set(listed), {"/deep/x", "/y", "/name"})
        self.assertEqual((listed["/y"]["type"], listed["/y"]["shape"], listed["/y"]["chunks"]), ("int16", [5], None))
        self.assertEqual((listed["/deep/x"]["chunks"], listed["/deep/x"]["compressed"]), ([1000, 4], True))
        single = self.x.astype(np.float32).astype(float)
        np.testing.assert_array_equal([c["min"] for c in columns], single.min(axis=0))
        np.testing.assert_array_equal([c["max"] for c in columns], single.max(axis=0))
        np.testing.assert_allclose([c["mean"] for c in columns], single.mean(axis=0), rtol=1e-12)
        self.assertIn("9001 x 4", text)

    def test_InfoCountsValuesThatAreNotFinite(self):
        with h5py.File("bad.h5", "w") as file:
            file["x"] = [[1, 2], [np.nan, 4], [np.inf, 6]]

        text = run("info", "bad.h5:/x").stdout

        self.assertIn("2 values are NaN or infinite, first bad.h5:/x row 1, column 0", text)

    def test_ModelsListsTheRegistry(self):
        models = {model["name"]: model for model in json.loads(run("models", "--json", ranks=3).stdout)}

        self.assertLessEqual({"gmm", "kmeans", "poisson"}, set(models))
        self.assertEqual(models["gmm"]["default_init"], "kmeans")
        self.assertIn({"name": "covariance", "default": "full"},
                      [{k: o[k] for k in ("name", "default")} for o in models["gmm"]["options"]])
        self.assertEqual({o["name"]: o["choices"] for o in models["gmm"]["options"] if "choices" in o},
                         {"covariance": ["full", "tied", "diag", "spherical"], "missing": ["error", "nan"]})
        self.assertIn("--covariance", run("models").stdout)
        self.assertNotIn("(default )", run("models").stdout)

    # bad input

    def test_MissingFilesAreNamed(self):
        self.fails("predict", "none.h5", "g.h5:/x", "-o", "o.h5", status=DATA, message="none.h5 does not exist")
        self.fails("score", "gmm.h5", "none.h5:/x", status=DATA, message="none.h5 does not exist")
        self.fails("score", "gmm.h5", "g.h5:/nothing", status=DATA, message="g.h5 has no data set /nothing")
        self.fails("sample", "none.h5", "-n", 1, "-o", "o.h5", status=DATA, message="none.h5 does not exist", ranks=[1])
        self.fails("info", "none.h5", status=DATA, message="none.h5 does not exist")
        self.fails("convert", "none.csv", "o.h5", status=DATA, message="none.csv does not exist")

    def test_AnotherWidthIsRefused(self):
        self.fails("predict", "gmm.h5", "c.h5:/x", "-o", "o.h5", status=DATA,
                   message="c.h5:/x has 2 columns but gmm.h5 was fitted on 4; pass the columns it was fitted on")

    def test_FirstBadValueIsNamedWhateverTheRanks(self):
        bad = self.x.copy()
        bad[8500, 1] = np.nan
        bad[4500, 2] = np.inf
        bad[4500, 3] = np.nan
        with h5py.File("nan.h5", "w") as file:
            file["x"] = bad
        message = "tally: error: nan.h5:/x row 4500, column 2 is infinite"

        self.fails("predict", "gmm.h5", "nan.h5:/x", "-o", "o.h5", status=DATA, message=message)
        self.fails("score", "kmeans.h5", "nan.h5:/x", status=DATA, message=message)
        self.fails("score", "kmeans.h5", "nan.h5:/x", "--per-row", "o.h5", status=DATA, message=message)

    def test_PoissonTakesCountsAlone(self):
        for value, word in ((-1, "negative"), (0.5, "not a whole number")):
            counts = dataset("c.h5", "x")
            counts[77, 1] = value
            with h5py.File("uncounted.h5", "w") as file:
                file["x"] = counts

            self.fails("score", "poisson.h5", "uncounted.h5:/x", status=DATA, message="row 77, column 1 is " + word)

    def test_BadWeightsAreNamed(self):
        self.fails("score", "gmm.h5", "g.h5:/x", "--weights", "w.h5:/negative", status=DATA,
                   message="the weight in w.h5:/negative row 5000 is negative")
        self.fails("score", "gmm.h5", "g.h5:/x", "--weights", "c.h5:/x", status=DATA, message="one is needed for each row")

    def test_FilesThatAreReadAreNotReplaced(self):
        before = contents("g.h5")

        self.fails("predict", "gmm.h5", "g.h5:/x", "-o", "g.h5:/labels", status=USAGE, message="would be replaced")
        self.fails("predict", "gmm.h5", "[g].h5:/x", "-o", "g.h5", status=USAGE, message="would be replaced", ranks=[1])
        self.fails("sample", "gmm.h5", "-n", 5, "-o", "./gmm.h5", status=USAGE, message="would be replaced", ranks=[1])
        self.fails("convert", "g.h5:/x", "g.h5:/y", status=USAGE, message="would be replaced", ranks=[1])

        self.assertEqual(contents("g.h5"), before)

    def test_UnwritableFoldersAreNamed(self):
        self.fails("predict", "gmm.h5", "g.h5:/x", "-o", "nowhere/o.h5", status=DATA, message="nowhere/o.h5")
        self.fails("generate", "gmm", "-n", 5, "-o", "nowhere/o.h5", status=DATA, message="nowhere/o.h5")
        self.fails("convert", "g.h5:/x", "/proc/o.h5", status=DATA, message="/proc/o.h5", ranks=[1])

    def test_ImpossibleRequestsAreUsageErrors(self):
        for words in (("generate", "gmm", "-n", 0, "-o", "o.h5"), ("generate", "gmm", "-n", 5, "-k", 0, "-o", "o.h5"),
                      ("generate", "gmm", "-n", 5, "-d", 0, "-o", "o.h5"), ("generate", "lda", "-n", 5, "-o", "o.h5"),
                      ("generate", "gmm", "-n", 9, "--lengths", "g.h5:/labels", "-o", "o.h5"), ("generate", "hmm", "-o", "o.h5"),
                      ("generate", "hmm", "--lengths", "o.h5:/lengths", "-o", "o.h5"),
                      ("sample", "gmm.h5", "-n", -1, "-o", "o.h5"), ("sample", "gmm.h5", "-n", 5, "-o", "o.h5:/labels", "--labels"),
                      ("convert", "g.h5:/x", "o.h5", "--columns", "4"), ("convert", "g.h5:/x", "o.h5", "--columns", "1,,2"),
                      ("convert", "g.h5", "o.h5"), ("predict", "gmm.h5", "g.h5:/x"),
                      ("predict", "gmm.h5", "g.h5:/x", "-o", "o.h5", "--memory", "much")):
            self.fails(*words, status=USAGE, message="tally: error: .", ranks=[1])

    def test_NumbersBeyondFloat32AreRefused(self):
        with open("large.csv", "w") as file:
            file.write("1 2\n3 1e39\n")

        self.fails("convert", "large.csv", "o.h5", "--float32", status=DATA, message="row 1, column 1 is 1e\\+39", ranks=[1])


if __name__ == "__main__":
    unittest.main()
