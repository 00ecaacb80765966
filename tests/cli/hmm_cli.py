"""What the tests of hidden Markov models share: fits, paths and posteriors through the command."""

import json

import h5py
import numpy as np

import hmm_naive as naive
from tally_cli import Model, TallyTest, option_words


def gaussian_covariances(matrices, shape):
    """Matrices (K, D, D) in the layout of a type of covariance."""
    matrices = np.asarray(matrices, float)
    return {"full": lambda: matrices, "tied": lambda: matrices[0],
            "diag": lambda: np.array([np.diag(matrix) for matrix in matrices]),
            "spherical": lambda: matrices[:, 0, 0]}[shape]()


def gaussian_parameters(theta, shape):
    return {"startprob": theta["pi"], "transmat": theta["A"], "means": theta["mean"],
            "covariances": gaussian_covariances(theta["cov"], shape)}


def poisson_parameters(theta):
    return {"startprob": theta["pi"], "transmat": theta["A"], "rates": np.reshape(theta["lam"], (-1, 1))}


def categorical_parameters(theta):
    return {"startprob": theta["pi"], "transmat": theta["A"], "probabilities": np.array(theta["E"])[:, None, :]}


class HmmTest(TallyTest):
    # Sums are exact on a grid: a probability far below it becomes 0.
    probability_absolute = 1e-12

    def fit_hmm(self, emission, data, states, ranks=1, **options):
        """Fits and reads the model file; `result` is what --json printed."""
        out = self.path()
        words = option_words({"emission": emission, "states": states, "out": out, **options})
        process = self.succeed("fit", "hmm", data, *words, "--quiet", "--json", ranks=ranks)
        fitted = Model(out)
        fitted.file = out
        fitted.result = json.loads(process.stdout)
        return fitted

    def fit_from(self, emission, data, parameters, ranks=1, **options):
        """A fit from start parameters, that does not end early."""
        return self.fit_hmm(emission, data, len(parameters["startprob"]), ranks, init=self.start(**parameters),
                            **{"tol": 0, "max_iter": 0, **options})

    def refuse_hmm(self, emission, data, states, ranks=1, says=(), **options):
        words = option_words({"emission": emission, "states": states, "out": self.folder + "/unwritten.h5", **options})
        return self.refuse("fit", "hmm", data, *words, "--quiet", ranks=ranks, says=says)

    def read(self, path, *names):
        with h5py.File(path, "r") as file:
            return {name: file[name][()] for name in names}

    def decode(self, fitted, data, ranks=1, **options):
        """The state at each step, and the log-probability of each sequence's path; None for states that are no path."""
        out = self.path()
        self.succeed("decode", fitted.file, data, *option_words({"out": out, **options}), ranks=ranks)
        with h5py.File(out, "r") as file:
            return file["states"][()], file["log_probability"][()] if "log_probability" in file else None

    def smoothed(self, fitted, data, ranks=1, **options):
        """The state's distribution at each step given all rows of its sequence (T, K)."""
        return self.predict(fitted, data, "responsibilities", "--proba", *option_words(options), ranks=ranks)

    def filtered(self, fitted, data, ranks=1, **options):
        """The state's distribution at each step given the rows up to it (T, K)."""
        return self.smoothed(fitted, data, ranks, filter=True, **options)

    def score(self, fitted, data, ranks=1, **options):
        return json.loads(self.succeed("score", fitted.file, data, "--json", *option_words(options), ranks=ranks).stdout)

    def score_of_each_sequence(self, fitted, data, ranks=1, **options):
        out = self.path()
        self.score(fitted, data, ranks, per_sequence=out + ":/score", **options)
        return self.read(out, "score")["score"]

    def assert_parameters(self, fitted, expected, relative):
        for name, array in expected.items():
            actual = fitted[name]
            np.testing.assert_allclose(actual, np.reshape(array, actual.shape), rtol=relative,
                                       atol=self.probability_absolute, err_msg=name)


def model_of(fitted, emission):
    """The naive model with the fitted parameters."""
    return naive.Model(emission, fitted.parameters)
