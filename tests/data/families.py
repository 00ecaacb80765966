"""EM of small mixtures and chains of every family in 40 digits, from the definitions of their densities alone: makes
families.json. Log-densities are checked against SciPy's on the way.

    pip install mpmath==1.4.1 scipy==1.17.1 && python tests/data/families.py > tests/data/families.json
"""

import json
import sys

import mpmath as mp
import numpy as np
import scipy.stats

mp.mp.dps = 40
ROWS, ITERATIONS, LENGTHS = 40, 3, [23, 1, 16]


def mean(x, weights):
    total = mp.fsum(weights)
    return [mp.fsum(w * row[d] for w, row in zip(weights, x)) / total for d in range(len(x[0]))]


class Exponential:
    def rows(self, random):
        return np.round(random.exponential(random.choice([[3.0, 50.0], [0.5, 400.0]], ROWS)), 4) + 1e-3

    start = {"rates": [[0.5, 0.02], [1.5, 0.004]]}

    def log_density(self, row, theta):
        return mp.fsum(mp.log(rate) - rate * x for x, rate in zip(row, theta["rates"]))

    def scipy(self, row, theta):
        return scipy.stats.expon.logpdf(row, scale=1 / np.array(theta["rates"])).sum()

    def maximize(self, x, weights, theta):
        return {"rates": [1 / value for value in mean(x, weights)]}


class Gamma:
    def rows(self, random):
        shape, scale = [[2.0, 4.0], [6.0, 0.7]], [[1.0, 5.0], [0.5, 3.0]]
        which = random.choice(2, ROWS)
        return np.round(random.gamma(np.array(shape)[which], np.array(scale)[which]), 4) + 1e-3

    start = {"shapes": [[3.0, 3.0], [5.0, 1.0]], "scales": [[1.0, 6.0], [0.5, 4.0]]}

    def log_density(self, row, theta):
        return mp.fsum((a - 1) * mp.log(x) - x / s - a * mp.log(s) - mp.loggamma(a)
                       for x, a, s in zip(row, theta["shapes"], theta["scales"]))

    def scipy(self, row, theta):
        return scipy.stats.gamma.logpdf(row, theta["shapes"], scale=theta["scales"]).sum()

    def maximize(self, x, weights, theta):
        means, logs = mean(x, weights), mean([[mp.log(value) for value in row] for row in x], weights)
        spreads = [mp.log(m) - l for m, l in zip(means, logs)]
        shapes = [mp.findroot(lambda a, s=s: mp.log(a) - mp.digamma(a) - s, 0.5 / s) for s in spreads]
        return {"shapes": shapes, "scales": [m / a for m, a in zip(means, shapes)]}


class Binomial:
    trials = 12
    options = {"trials": trials}

    def rows(self, random):
        return random.binomial(self.trials, np.array([[0.2, 0.7], [0.5, 0.95]])[random.choice(2, ROWS)]).astype(float)

    start = {"probabilities": [[0.25, 0.5], [0.625, 0.875]]}

    def log_density(self, row, theta):
        return mp.fsum(mp.log(mp.binomial(self.trials, x)) + x * mp.log(p) + (self.trials - x) * mp.log(1 - p)
                       for x, p in zip(row, theta["probabilities"]))

    def scipy(self, row, theta):
        return scipy.stats.binom.logpmf(row, self.trials, theta["probabilities"]).sum()

    def maximize(self, x, weights, theta):
        return {"probabilities": [value / self.trials for value in mean(x, weights)]}


class Multinomial:
    def rows(self, random):
        shares = [[0.5, 0.2, 0.2, 0.1], [0.1, 0.1, 0.3, 0.5]]
        return np.array([random.multinomial(random.integers(0, 12), shares[which])
                         for which in random.choice(2, ROWS)]).astype(float)

    start = {"probabilities": [[0.25, 0.25, 0.25, 0.25], [0.125, 0.125, 0.25, 0.5]]}

    def log_density(self, row, theta):
        return mp.loggamma(mp.fsum(row) + 1) + mp.fsum(x * mp.log(p) - mp.loggamma(x + 1)
                                                       for x, p in zip(row, theta["probabilities"]))

    def scipy(self, row, theta):
        return scipy.stats.multinomial.logpmf(row, int(sum(row)), theta["probabilities"])

    def maximize(self, x, weights, theta):
        means = mean(x, weights)
        return {"probabilities": [value / mp.fsum(means) for value in means]}


class VonMisesFisher:
    def rows(self, random):
        means = [[1.0, 0.0, 0.5], [0.0, 1.0, -0.25]]
        x = np.array(means)[random.choice(2, ROWS)] + random.normal(scale=0.4, size=(ROWS, 3))
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    start = {"mean_directions": [[0.6, 0.0, 0.8], [0.0, 1.0, 0.0]], "concentrations": [2.0, 16.0]}

    def log_density(self, row, theta):
        kappa, v = theta["concentrations"], mp.mpf(len(row)) / 2 - 1
        return (kappa * mp.fsum(a * b for a, b in zip(row, theta["mean_directions"])) + v * mp.log(kappa)
                - (v + 1) * mp.log(2 * mp.pi) - mp.log(mp.besseli(v, kappa)))

    def scipy(self, row, theta):
        return scipy.stats.vonmises_fisher.logpdf(row, theta["mean_directions"], theta["concentrations"])

    def maximize(self, x, weights, theta):
        means = mean(x, weights)
        length, v = mp.sqrt(mp.fsum(value ** 2 for value in means)), mp.mpf(len(means)) / 2 - 1
        kappa = mp.findroot(lambda k: mp.besseli(v + 1, k) / mp.besseli(v, k) - length,
                            length * (len(means) - length ** 2) / (1 - length ** 2))
        return {"mean_directions": [value / length for value in means], "concentrations": kappa}


class StudentT:
    options = {"covariance": "full", "reg_covar": 0}

    def rows(self, random):
        means, spreads = [[0.0, 1.0], [3.0, -1.0]], [[1.0, 0.3], [0.5, 2.0]]
        which = random.choice(2, ROWS)
        return np.round(np.array(means)[which] + np.array(spreads)[which] * random.standard_t(3, (ROWS, 1))
                        * random.choice([-1.0, 1.0], (ROWS, 2)) + random.normal(scale=0.3, size=(ROWS, 2)), 4)

    start = {"means": [[0.0, 0.0], [2.0, 0.0]], "scales": [[[1.0, 0.25], [0.25, 0.5]], [[0.5, 0.0], [0.0, 2.0]]],
             "degrees_of_freedom": [4.0, 10.0]}

    def distance(self, row, theta):
        z = mp.matrix([a - b for a, b in zip(row, theta["means"])])
        return (z.T * mp.inverse(mp.matrix(theta["scales"])) * z)[0]

    def log_density(self, row, theta):
        nu, D = theta["degrees_of_freedom"], mp.mpf(len(row))
        return (mp.loggamma((nu + D) / 2) - mp.loggamma(nu / 2) - D / 2 * mp.log(mp.pi * nu)
                - mp.log(mp.det(mp.matrix(theta["scales"]))) / 2 - (nu + D) / 2 * mp.log1p(self.distance(row, theta) / nu))

    def scipy(self, row, theta):
        return scipy.stats.multivariate_t.logpdf(row, theta["means"], theta["scales"], theta["degrees_of_freedom"])

    def maximize(self, x, weights, theta):
        """Of parameter-expanded EM: a row's precision u has the mean (nu + D) / (nu + q), and its scale is fitted, too."""
        nu, D = theta["degrees_of_freedom"], mp.mpf(len(x[0]))
        u = [(nu + D) / (nu + self.distance(row, theta)) for row in x]
        scaled = [w * value for w, value in zip(weights, u)]
        means = mean(x, scaled)
        scales = [mean([[(row[a] - means[a]) * (row[b] - means[b]) for b in range(len(means))] for row in x], scaled)
                  for a in range(len(means))]
        of_precisions = mean([[value, mp.log(value)] for value in u], weights)
        logs = mp.digamma((nu + D) / 2) - mp.log((nu + D) / 2) + of_precisions[1] - mp.log(of_precisions[0])
        degrees = mp.findroot(lambda value: mp.log(value / 2) - mp.digamma(value / 2) + logs, nu)
        return {"means": means, "scales": scales, "degrees_of_freedom": degrees}


FAMILIES = {"exponential": Exponential(), "gamma": Gamma(), "binomial": Binomial(), "multinomial": Multinomial(),
            "von-mises-fisher": VonMisesFisher(), "student-t": StudentT()}


def as_mpf(values):
    return [as_mpf(value) for value in values] if isinstance(values, list) else mp.mpf(values)


def as_floats(values):
    return [as_floats(value) for value in values] if isinstance(values, list) else float(values)


def component(theta, k):
    return {name: values[k] for name, values in theta.items()}


def log_densities(family, x, theta, components):
    table = [[family.log_density(row, component(theta, k)) for k in range(components)] for row in x]
    for row, values in zip(x, table):
        for k, value in enumerate(values):
            expected = family.scipy(as_floats(row), {n: as_floats(v) for n, v in component(theta, k).items()})
            assert abs(value - expected) < 1e-9 * (1 + abs(value)), (value, expected)
    return table


def maximize(family, x, responsibilities, theta, components):
    each = [family.maximize(x, [r[k] for r in responsibilities], component(theta, k)) for k in range(components)]
    return {name: [theta[name] for theta in each] for name in each[0]}


def mixture(family, x, weights, start):
    """The log-likelihoods of ITERATIONS + 1 parameters, and the last of them."""
    theta = {name: as_mpf(values) for name, values in start.items()}
    trace = []
    for iteration in range(ITERATIONS + 1):
        shares = theta["weights"]
        of_family = {name: values for name, values in theta.items() if name != "weights"}
        joint = [[share * mp.exp(value) for share, value in zip(shares, row)]
                 for row in log_densities(family, x, of_family, len(shares))]
        trace.append(mp.fsum(w * mp.log(mp.fsum(row)) for w, row in zip(weights, joint)))
        if iteration == ITERATIONS:
            return {"trace": as_floats(trace), "end": {name: as_floats(values) for name, values in theta.items()}}
        posterior = [[w * value / mp.fsum(row) for value in row] for w, row in zip(weights, joint)]
        theta = maximize(family, x, posterior, of_family, len(shares))
        theta["weights"] = [mp.fsum(row[k] for row in posterior) / mp.fsum(weights) for k in range(len(shares))]


def chain(family, x, lengths, start):
    """The same of a hidden Markov model by forward and backward sums of probabilities."""
    theta = {name: as_mpf(values) for name, values in start.items()}
    trace, states = [], range(len(start["startprob"]))
    for iteration in range(ITERATIONS + 1):
        of_family = {name: values for name, values in theta.items() if name not in ("startprob", "transmat")}
        b = [[mp.exp(value) for value in row] for row in log_densities(family, x, of_family, len(states))]
        begin, moves = theta["startprob"], theta["transmat"]
        log_likelihood, gamma, starts = mp.mpf(0), [], [mp.mpf(0) for _ in states]
        counts, first = [[mp.mpf(0) for _ in states] for _ in states], 0
        for length in lengths:
            part = b[first:first + length]
            first += length
            alpha, beta = [[begin[j] * part[0][j] for j in states]], [[mp.mpf(1) for _ in states]]
            for emitted in part[1:]:
                alpha.append([emitted[j] * mp.fsum(alpha[-1][i] * moves[i][j] for i in states) for j in states])
            for emitted in part[:0:-1]:
                beta.insert(0, [mp.fsum(moves[i][j] * emitted[j] * beta[0][j] for j in states) for i in states])
            likelihood = mp.fsum(alpha[-1])
            log_likelihood += mp.log(likelihood)
            of_sequence = [[a * c / likelihood for a, c in zip(*pair)] for pair in zip(alpha, beta)]
            gamma += of_sequence
            for j in states:
                starts[j] += of_sequence[0][j]
                for i in states:
                    counts[i][j] += mp.fsum(alpha[t][i] * moves[i][j] * part[t + 1][j] * beta[t + 1][j]
                                            for t in range(length - 1)) / likelihood
        trace.append(log_likelihood)
        if iteration == ITERATIONS:
            return {"trace": as_floats(trace), "end": {name: as_floats(values) for name, values in theta.items()}}
        theta = maximize(family, x, gamma, of_family, len(states))
        theta["startprob"] = [value / mp.fsum(starts) for value in starts]
        theta["transmat"] = [[value / mp.fsum(row) for value in row] for row in counts]


def reference(family, seed):
    random = np.random.default_rng(seed)
    x = family.rows(random).tolist()
    weights = random.choice([0.5, 1.0, 2.0], ROWS).tolist()
    of_mixture = {"weights": [0.375, 0.625], **family.start}
    of_chain = {"startprob": [0.5, 0.5], "transmat": [[0.75, 0.25], [0.375, 0.625]], **family.start}
    exact = as_mpf(x)
    return {"x": x, "weights": weights, "lengths": LENGTHS, "options": getattr(family, "options", {}),
            "mixture": {"start": of_mixture, **mixture(family, exact, as_mpf(weights), of_mixture)},
            "chain": {"start": of_chain, **chain(family, exact, LENGTHS, of_chain)}}


if __name__ == "__main__":
    json.dump({name: reference(family, seed) for seed, (name, family) in enumerate(FAMILIES.items())}, sys.stdout,
              separators=(",", ":"))
    print()
