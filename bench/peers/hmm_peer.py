"""hmmlearn or dynamax as a peer of chains.py: E-steps from the start parameters, and the log-likelihood after one iteration."""
import importlib.metadata
import logging
import pathlib
import sys

import numpy

import common
from chains import DYNAMAX, SCALING, SYMBOLS, TIMED, Workload


def maximize(workload, counts):
    """The M-step, alike for every program's counts."""
    parameters = {"startprob": counts["starts"] / counts["starts"].sum(),
                  "transmat": counts["transitions"] / counts["transitions"].sum(axis=1, keepdims=True)}
    if workload.emission == "categorical":
        symbols = counts["symbols"]
        parameters["probabilities"] = (symbols / symbols.sum(axis=1, keepdims=True))[:, None, :]
    else:
        parameters["means"] = counts["x"] / counts["states"][:, None]
        parameters["covariances"] = counts["xx"] / counts["states"][:, None] - parameters["means"]**2
    return parameters


class Hmmlearn:
    def __init__(self, workload, x, implementation):
        import hmmlearn.hmm
        self.workload, self.x, self.lengths = workload, x, [workload.steps] * workload.sequences
        if workload.emission == "categorical":
            self.model = hmmlearn.hmm.CategoricalHMM(workload.states, implementation=implementation)
            self.model.n_features = SYMBOLS
        else:
            self.model = hmmlearn.hmm.GaussianHMM(workload.states, "diag", implementation=implementation)
            self.model.n_features = workload.columns

    def take(self, parameters):
        self.model.startprob_, self.model.transmat_ = parameters["startprob"], parameters["transmat"]
        if self.workload.emission == "categorical":
            self.model.emissionprob_ = parameters["probabilities"][:, 0]
        else:
            self.model.means_, self.model.covars_ = parameters["means"], parameters["covariances"]

    def e_step(self):
        return self.model._do_estep(self.x, self.lengths)

    def counts(self, statistics_of_step):
        found = {"starts": statistics_of_step["start"], "transitions": statistics_of_step["trans"]}
        if self.workload.emission == "categorical":
            return {**found, "symbols": statistics_of_step["obs"]}
        return {**found, "states": statistics_of_step["post"], "x": statistics_of_step["obs"],
                "xx": statistics_of_step["obs**2"]}


class Dynamax:
    def __init__(self, workload, x):
        import jax
        jax.config.update("jax_enable_x64", True)
        import dynamax.hidden_markov_model as models
        self.workload = workload
        shape = (workload.sequences, workload.steps, workload.columns)
        if workload.emission == "categorical":
            self.model = models.CategoricalHMM(workload.states, workload.columns, SYMBOLS)
            self.rows = jax.numpy.asarray(x.reshape(shape), dtype=int)
        else:
            self.model = models.DiagonalGaussianHMM(workload.states, workload.columns)
            self.rows = jax.numpy.asarray(x.reshape(shape))

        def summed(parameters, rows):
            counts, log_likelihoods = jax.vmap(lambda sequence: self.model.e_step(parameters, sequence))(rows)
            return jax.tree_util.tree_map(lambda count: count.sum(axis=0), counts), log_likelihoods.sum()
        self.compiled = jax.jit(summed)
        self.wait = jax.block_until_ready

    def take(self, parameters):
        emission = {"emission_probs": parameters["probabilities"]} if self.workload.emission == "categorical" else {
            "emission_means": parameters["means"], "emission_scale_diags": parameters["covariances"]**0.5}
        self.parameters, _ = self.model.initialize(initial_probs=parameters["startprob"],
                                                   transition_matrix=parameters["transmat"], **emission)

    def e_step(self):
        counts, log_likelihood = self.wait(self.compiled(self.parameters, self.rows))
        return counts, float(log_likelihood)

    def counts(self, statistics_of_step):
        starts, transitions, emission = statistics_of_step
        found = {"starts": numpy.asarray(starts), "transitions": numpy.asarray(transitions)}
        if self.workload.emission == "categorical":
            return {**found, "symbols": numpy.asarray(emission["sum_x"])[:, 0]}
        return {**found, "states": numpy.asarray(emission["sum_w"]), "x": numpy.asarray(emission["sum_x"]),
                "xx": numpy.asarray(emission["sum_xsq"])}


def make_program(name, workload, x):
    if name == DYNAMAX:
        return Dynamax(workload, x), ("dynamax", "jax")
    return Hmmlearn(workload, x, "scaling" if name == SCALING else "log"), ("hmmlearn",)


def log_likelihood_after_one(workload, program, start):
    program.take(start)
    counts, _ = program.e_step()
    program.take(maximize(workload, program.counts(counts)))
    return program.e_step()[1]


def main():
    logging.disable(logging.WARNING)
    name, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    workload = Workload.from_words(sys.argv[3:])
    program, packages = make_program(name, workload, numpy.load(folder / "x.npy"))
    start = dict(numpy.load(folder / "start.npz"))
    objective = float(log_likelihood_after_one(workload, program, start))
    program.take(start)

    def measure_once():
        """The best of as many E-steps as Tally has a round, or of those that fit a second."""
        steps = []
        while len(steps) < TIMED and sum(wall for wall, _ in steps) < 1:
            steps.append(common.timed(program.e_step)[1])
        seconds, processor_seconds = map(min, zip(*steps))
        return {"seconds": seconds, "processor_seconds": processor_seconds, "objective": objective}

    common.serve({package: importlib.metadata.version(package) for package in packages}, measure_once)


main()
