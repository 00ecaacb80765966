"""Hidden Markov models in plain loops, in logarithms and float64: slow, and easy to see right.

Parameters are a dictionary with the names of a model file: startprob (K), transmat (K, K), mixture_weights (K, M) where a
state emits a mixture, and the emission's own arrays, whose first axis runs over the K M components (component k M + m is
the m-th of state k). A sequence is an array (T, D); a row of NaN is missing. A label of -1 is unknown.
"""

import itertools
import math

import numpy as np


def log(values):
    """The logarithm, -inf of 0."""
    with np.errstate(divide="ignore"):
        return np.log(values)


def missing_rows(x):
    return np.isnan(x).all(axis=1)


class Emission:
    """A family's log-densities of rows and its weighted maximum-likelihood parameters."""

    def log_densities(self, x, parameters):
        """(T, components); 0 for a missing row."""
        x = np.asarray(x, float)
        missing = missing_rows(x)
        densities = np.zeros((len(x), self.components(parameters)))
        known = {}  # equal rows have equal densities
        for t in np.flatnonzero(~missing):
            row = x[t].tobytes()
            if row not in known:
                known[row] = [self.log_density(x[t], component, parameters) for component in range(densities.shape[1])]
            densities[t] = known[row]
        return densities

    def maximize(self, x, weights, parameters):
        """Parameters for rows x (T, D) and weights (T, components); a component without weight keeps its own."""
        x = np.asarray(x, float)
        seen = ~missing_rows(x)
        return self.maximize_seen(x[seen], weights[seen], parameters)


class Gaussian(Emission):
    def __init__(self, covariance="diag", ridge=0.0, keeps_means=False):
        self.covariance, self.ridge, self.keeps_means = covariance, ridge, keeps_means

    def components(self, parameters):
        return len(parameters["means"])

    def matrix(self, component, parameters):
        covariances = np.asarray(parameters["covariances"], float)
        columns = np.shape(parameters["means"])[1]
        return {"full": lambda: covariances[component],
                "tied": lambda: covariances,
                "diag": lambda: np.diag(covariances[component]),
                "spherical": lambda: covariances[component] * np.eye(columns)}[self.covariance]()

    def log_density(self, row, component, parameters):
        difference = row - parameters["means"][component]
        covariance = self.matrix(component, parameters)
        quadratic = difference @ np.linalg.solve(covariance, difference)
        return -0.5 * (len(row) * math.log(2 * math.pi) + np.linalg.slogdet(covariance)[1] + quadratic)

    def maximize_seen(self, x, weights, parameters):
        means = np.array(parameters["means"], float)
        covariances = np.array(parameters["covariances"], float)
        columns = means.shape[1]
        scatters = np.zeros((len(means), columns, columns))
        totals = weights.sum(axis=0)
        for component, total in enumerate(totals):
            if total == 0:
                continue
            if not self.keeps_means:
                means[component] = weights[:, component] @ x / total
            difference = x - means[component]
            scatters[component] = (weights[:, component, None] * difference).T @ difference
            if self.covariance == "full":
                covariances[component] = scatters[component] / total + self.ridge * np.eye(columns)
            elif self.covariance == "diag":
                covariances[component] = np.diag(scatters[component]) / total + self.ridge
            elif self.covariance == "spherical":
                covariances[component] = np.trace(scatters[component]) / total / columns + self.ridge
        if self.covariance == "tied":
            covariances = scatters.sum(axis=0) / totals.sum() + self.ridge * np.eye(columns)
        return {"means": means, "covariances": covariances}


class Poisson(Emission):
    def components(self, parameters):
        return len(parameters["rates"])

    def log_density(self, row, component, parameters):
        total = 0.0
        for count, rate in zip(row, np.atleast_1d(parameters["rates"][component])):
            total += (count * log(rate) if count else 0.0) - rate - math.lgamma(count + 1)
        return total

    def maximize_seen(self, x, weights, parameters):
        rates = np.array(parameters["rates"], float)
        for component, total in enumerate(weights.sum(axis=0)):
            if total > 0:
                rates[component] = weights[:, component] @ x / total
        return {"rates": rates}


class Categorical(Emission):
    """probabilities (components, D, S)"""

    def components(self, parameters):
        return len(parameters["probabilities"])

    def log_density(self, row, component, parameters):
        probabilities = parameters["probabilities"][component]
        return sum(log(probabilities[column][int(symbol)]) for column, symbol in enumerate(row))

    def maximize_seen(self, x, weights, parameters):
        probabilities = np.array(parameters["probabilities"], float)
        for component, total in enumerate(weights.sum(axis=0)):
            if total == 0:
                continue
            for column in range(x.shape[1]):
                for symbol in range(probabilities.shape[2]):
                    chosen = x[:, column] == symbol
                    probabilities[component, column, symbol] = weights[chosen, component].sum() / total
        return {"probabilities": probabilities}


class Bernoulli(Emission):
    """probabilities (components, D) of a 1"""

    def components(self, parameters):
        return len(parameters["probabilities"])

    def log_density(self, row, component, parameters):
        return sum(log(p if bit else 1 - p) for bit, p in zip(row, parameters["probabilities"][component]))

    def maximize_seen(self, x, weights, parameters):
        probabilities = np.array(parameters["probabilities"], float)
        for component, total in enumerate(weights.sum(axis=0)):
            if total > 0:
                probabilities[component] = weights[:, component] @ x / total
        return {"probabilities": probabilities}


def forward(log_start, log_transitions, log_b):
    """log p(x_1..x_t, state of t) (T, K)"""
    alpha = np.empty_like(log_b)
    alpha[0] = log_start + log_b[0]
    for t in range(1, len(log_b)):
        for j in range(log_b.shape[1]):
            alpha[t, j] = np.logaddexp.reduce(alpha[t - 1] + log_transitions[:, j]) + log_b[t, j]
    return alpha


def backward(log_transitions, log_b):
    """log p(x_t+1..x_T | state of t) (T, K)"""
    beta = np.zeros_like(log_b)
    for t in range(len(log_b) - 2, -1, -1):
        for i in range(log_b.shape[1]):
            beta[t, i] = np.logaddexp.reduce(log_transitions[i] + log_b[t + 1] + beta[t + 1])
    return beta


def smooth(log_start, log_transitions, log_b):
    """The log-likelihood, the state's distribution at each step (T, K) and the expected transitions (K, K)."""
    alpha, beta = forward(log_start, log_transitions, log_b), backward(log_transitions, log_b)
    log_likelihood = np.logaddexp.reduce(alpha[-1])
    transitions = np.zeros_like(log_transitions)
    for t in range(len(log_b) - 1):
        transitions += np.exp(alpha[t][:, None] + log_transitions + (log_b[t + 1] + beta[t + 1])[None, :]
                              - log_likelihood)
    return log_likelihood, np.exp(alpha + beta - log_likelihood), transitions


def viterbi(log_start, log_transitions, log_b):
    """The log-probability of the likeliest path and that path; the lowest state among equals."""
    steps, states = log_b.shape
    best, previous = log_start + log_b[0], np.zeros((steps, states), int)
    for t in range(1, steps):
        scores = best[:, None] + log_transitions
        previous[t] = scores.argmax(axis=0)
        best = scores.max(axis=0) + log_b[t]
    path = [int(best.argmax())]
    for t in range(steps - 1, 0, -1):
        path.append(int(previous[t, path[-1]]))
    return best.max(), np.array(path[::-1])


def enumerate_paths(log_start, log_transitions, log_b):
    """Every path of a short chain: the log-likelihood, the smoothed states (T, K), the expected transitions (K, K), and the
    log-probability of the likeliest path."""
    steps, states = log_b.shape
    gamma, transitions = np.zeros((steps, states)), np.zeros((states, states))
    likelihood, best = 0.0, -math.inf
    for path in itertools.product(range(states), repeat=steps):
        log_probability = log_start[path[0]] + sum(log_b[t, state] for t, state in enumerate(path))
        log_probability += sum(log_transitions[i, j] for i, j in zip(path, path[1:]))
        best = max(best, log_probability)
        probability = math.exp(log_probability)
        likelihood += probability
        for t, state in enumerate(path):
            gamma[t, state] += probability
        for i, j in zip(path, path[1:]):
            transitions[i, j] += probability
    return math.log(likelihood), gamma / likelihood, transitions / likelihood, best


class Model:
    """Parameters and the emission that they belong to."""

    def __init__(self, emission, parameters):
        self.emission = emission
        self.parameters = {name: np.asarray(array, float) for name, array in parameters.items()}
        self.states = len(self.parameters["startprob"])

    def logarithms(self):
        return log(self.parameters["startprob"]), log(self.parameters["transmat"])

    def component_densities(self, x):
        """log p(x_t, m | state k) (T, K, M)"""
        x = np.asarray(x, float)
        densities = self.emission.log_densities(x, self.parameters).reshape(len(x), self.states, -1)
        weights = self.parameters.get("mixture_weights", np.ones((self.states, 1)))
        return densities + log(weights)

    def log_b(self, x, labels=None):
        """log p(x_t | state k) (T, K); a label rules out all other states."""
        log_b = np.logaddexp.reduce(self.component_densities(x), axis=2)
        if labels is not None:
            for t, label in enumerate(labels):
                if label >= 0:
                    log_b[t, np.arange(self.states) != label] = -np.inf
        return log_b

    def smooth(self, x, labels=None):
        return smooth(*self.logarithms(), self.log_b(x, labels))

    def filter(self, x):
        """The state's distribution at each step given the rows up to it (T, K)."""
        alpha = forward(*self.logarithms(), self.log_b(x))
        return np.exp(alpha - np.logaddexp.reduce(alpha, axis=1)[:, None])

    def viterbi(self, x):
        return viterbi(*self.logarithms(), self.log_b(x))

    def enumerate_paths(self, x):
        return enumerate_paths(*self.logarithms(), self.log_b(x))

    def log_likelihood(self, x):
        return self.smooth(x)[0]


class Counts:
    """What an E-step over all sequences expects."""

    def __init__(self, model, sequences, weights=None, labels=None):
        weights = np.ones(len(sequences)) if weights is None else weights
        labels = [None] * len(sequences) if labels is None else labels
        self.log_likelihood = 0.0
        self.starts = np.zeros(model.states)
        self.transitions = np.zeros((model.states, model.states))
        self.components = []  # of each sequence (T, K, M)
        for x, weight, labels_of_x in zip(sequences, weights, labels):
            log_likelihood, gamma, transitions = model.smooth(x, labels_of_x)
            densities = model.component_densities(x)
            totals = np.logaddexp.reduce(densities, axis=2)[:, :, None]
            shares = np.exp(densities - np.where(np.isfinite(totals), totals, 0.0))
            self.log_likelihood += weight * log_likelihood
            self.starts += weight * gamma[0]
            self.transitions += weight * transitions
            self.components.append(weight * gamma[:, :, None] * shares)


def normalized(counts, prior, before):
    """The mode under a Dirichlet prior of this concentration; what was 0 stays 0, what has no count stays as it was."""
    allowed = np.asarray(before) > 0
    counts = np.where(allowed, counts + (prior - 1), 0.0)
    return counts / counts.sum() if counts.sum() > 0 else np.array(before)


def maximize(model, sequences, counts, frozen=(), startprob_prior=1.0, transmat_prior=1.0):
    """The model after an M-step."""
    before = model.parameters
    x = np.concatenate([np.asarray(sequence, float) for sequence in sequences])
    components = np.concatenate(counts.components)
    after = model.emission.maximize(x, components.reshape(len(x), -1), before)
    after["startprob"] = normalized(counts.starts, startprob_prior, before["startprob"])
    after["transmat"] = np.array([normalized(counts.transitions[i], transmat_prior, before["transmat"][i])
                                  for i in range(model.states)])
    if "mixture_weights" in before:
        seen = components[~missing_rows(x)].sum(axis=0)
        after["mixture_weights"] = np.array([normalized(seen[k], 1.0, before["mixture_weights"][k])
                                             for k in range(model.states)])
    return Model(model.emission, {**after, **{name: before[name] for name in frozen}})


def baum_welch(model, sequences, iterations, weights=None, labels=None, **options):
    """The log-likelihood at each of the models (iterations + 1), and those models."""
    trace, models = [], [model]
    for iteration in range(iterations + 1):
        counts = Counts(models[-1], sequences, weights, labels)
        trace.append(counts.log_likelihood)
        if iteration < iterations:
            models.append(maximize(models[-1], sequences, counts, **options))
    return trace, models


def split(x, lengths):
    """Sequences that lie end to end."""
    return np.split(np.asarray(x), np.cumsum(lengths)[:-1])
