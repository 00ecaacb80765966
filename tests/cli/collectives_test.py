"""The MPI collectives of a fit, counted from outside by a preloaded library: one for each EM iteration, and few for all
the rest. TALLY_COLLECTIVE_COUNTER names the library."""

import os
import subprocess
import unittest
from collections import Counter

import h5py
import numpy as np

from tally_cli import TallyTest, command, mpirun, option_words

counter = os.environ.get("TALLY_COLLECTIVE_COUNTER")
rows, columns, components = 9001, 3, 3
data_sets = {"poisson": "counts", "categorical": "symbols", "bernoulli": "bits"}  # of others: x

# Of a fit that is no more than its last E-step (--max-iter 0). Sums, all MPI_Iallreduce:
sums_around = {
    "the host names": 1,
    "the inputs were opened": 1,
    "their shapes agree": 1,
    "the first scan: sums, extremes, the first bad value, the sample": 1,
    "the rows were standardised": 1,
    "the last E-step": 1,
    "the model was written": 1,
    "the end of the roll calls": 1,
}
# A start from the sample needs none: every rank holds the sample.
sums_of_start = {
    "random-from-data": 0,
    "random": 0,
    "k-means++": 0,
    "kmeans": 0,
    "labels": 1,  # the statistics of the first M-step
    "responsibilities": 1,  # the same
    "parameters": 1,  # the file was read
    "model": 1,  # the same
}
sums_of_known_states = 1  # a few rows of each, for a start from the sample
others = {"MPI_Ibarrier": 1}  # the end
constructions = {"construction MPI_Comm_dup": 2, "construction MPI_Comm_split_type": 1}
# Of a resumed fit: the checkpoint was read, and it is the same for all.
sums_of_resuming = 2
sums_of_checkpoint = 1  # it was written
# Where sequences are cut: where the blocks of each rank begin, and whether all have memory for messages, once; then messages,
# for every E-step.
sums_of_cuts = 2
states_composed, sums_of_composing = 4, 1
states_in_order = 17
long_rows = 8 * 16384  # eight pieces, of which every rank of up to four has some

# Decoding one cut sequence on two ranks. Both: host names, opened, the shapes agree, nothing is replaced, all can begin, where blocks
# begin, memory for messages, went well, no bad value, the end of the roll calls; then to write it: begun, lengths of parts, a piece of each,
# finished, and before two gathers their lengths.
sums_of_paths = 10 + 5 + 2
sums_of_decoding = {
    "viterbi": sums_of_paths + 2 + 2,  # over the boundary, there and back; log-probabilities, missing rows
    "map": sums_of_paths + 1 + 2 + 1,  # composed messages; the second pass went well, no bad value; nothing impossible
}


@unittest.skipUnless(counter, "TALLY_COLLECTIVE_COUNTER does not name the counting library")
class Collectives(TallyTest):
    def setUp(self):
        super().setUp()
        random = np.random.default_rng(3)
        labels = random.integers(0, components, rows)
        with h5py.File(self.path(), "w") as file:
            self.data = file.filename
            # So far apart that no start leaves a component without rows, so close that no fit ends early.
            file["x"] = labels[:, None] + random.normal(size=(rows, columns))
            file["symbols"] = (labels[:, None] + random.integers(0, 3, (rows, columns))).astype("i2")
            file["bits"] = random.integers(0, 2, (rows, columns)).astype("i1")
            file["short_lengths"] = np.append(np.full(rows // 100, 100), rows % 100)
            file["long"] = np.arange(long_rows) % states_in_order + random.normal(size=long_rows)
            file["counts"] = random.poisson(2.0 + labels[:, None], size=(rows, columns))
            file["labels"] = labels
            file["responsibilities"] = np.eye(components)[labels]
            file["start/means"] = np.arange(components)[:, None] + np.zeros((1, columns))

    def counts(self, model="gmm", ranks=2, out=None, data=None, **options):
        """What every rank calls in a fit."""
        prefix = self.path("")
        data = f"{self.data}:/{data or data_sets.get(model, 'x')}"
        options = {"components": components, "out": out or self.path(), "threads": 1, "tol": 0, **options}
        line = [mpirun, "-n", str(ranks), "env", f"LD_PRELOAD={counter}", f"TALLY_COUNT_COLLECTIVES={prefix}",
                command, "fit", model, data, *option_words(options), "--quiet"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        of_ranks = []
        for rank in range(ranks):
            with open(f"{prefix}.{rank}", encoding="utf-8") as file:
                of_ranks.append({name: int(count) for name, count in (line.rsplit(" ", 1) for line in file)})
        for of_rank in of_ranks:
            self.assertEqual(of_rank, of_ranks[0])
        return of_ranks[0]

    def expected(self, sums):
        return {**others, **constructions, "MPI_Iallreduce": sums}

    def test_an_iteration_is_one_sum(self):
        fits = [("gmm", {"covariance": covariance}) for covariance in ("full", "tied", "diag", "spherical")]
        fits += [("kmeans", {}), ("poisson", {}), ("categorical", {}), ("bernoulli", {}), ("gmm", {"n_init": 3}), ("kmeans", {"precision": "single"})]
        for model, options in fits:
            with self.subTest(model=model, **options):
                short, long = (Counter(self.counts(model, init="random-from-data", max_iter=iterations, **options))
                               for iterations in (2, 7))

                self.assertEqual(long - short, Counter({"MPI_Iallreduce": 5}))
                self.assertEqual(short - long, Counter())

    def test_an_iteration_is_one_sum_on_ranks_without_rows(self):
        short, long = (Counter(self.counts(ranks=4, max_iter=iterations)) for iterations in (2, 7))

        self.assertEqual(long - short, Counter({"MPI_Iallreduce": 5}))

    def sums_of_iterations(self, **options):
        """The sums of five iterations, and those around a fit that is no more than its last E-step."""
        options = {"model": "hmm", "emission": "gaussian", "init": "random-from-data", **options}
        none, five = (self.counts(max_iter=iterations, **options) for iterations in (0, 5))
        self.assertEqual({**five, "MPI_Iallreduce": 0}, {**none, "MPI_Iallreduce": 0})
        self.assertEqual(none, self.expected(none["MPI_Iallreduce"]))
        return five["MPI_Iallreduce"] - none["MPI_Iallreduce"], none["MPI_Iallreduce"] - sum(sums_around.values())

    def test_an_iteration_over_whole_sequences_is_one_sum(self):
        for ranks in (1, 2, 3):
            for states in (states_composed, states_in_order):
                sums = self.sums_of_iterations(ranks=ranks, components=states,
                                               lengths=f"{self.data}:/short_lengths")
                self.assertEqual(sums, (5, 0))

    def test_composed_messages_take_one_sum_more(self):
        for ranks in (1, 2, 4):
            for restarts in (1, 3):
                sums = self.sums_of_iterations(ranks=ranks, components=states_composed, n_init=restarts)

                self.assertEqual(sums, (5 * (1 + sums_of_composing), sums_of_cuts + sums_of_composing))

    def test_messages_in_order_take_two_sums_for_each_boundary_of_ranks(self):
        for ranks in (1, 2, 3, 4):
            sums_of_order = 2 * (ranks - 1)
            sums = self.sums_of_iterations(ranks=ranks, components=states_in_order, data="long")

            self.assertEqual(sums, (5 * (1 + sums_of_order), sums_of_cuts + sums_of_order))

    def test_a_path_takes_no_messages_but_its_own(self):
        model, prefix = self.path(), self.path("")
        self.counts("hmm", emission="gaussian", components=states_composed, init="random-from-data", max_iter=1, out=model)
        line = [mpirun, "-n", "2", "env", f"LD_PRELOAD={counter}", f"TALLY_COUNT_COLLECTIVES={prefix}", command]

        sums = {}
        for method in ("viterbi", "map"):
            subprocess.run([*line, "decode", model, f"{self.data}:/x", "--method", method, "--threads", "1", "--out", self.path()],
                           capture_output=True, timeout=120, check=True)
            with open(prefix + ".0", encoding="utf-8") as file:
                sums[method] = next(int(text.split()[1]) for text in file if text.startswith("MPI_Iallreduce"))

        self.assertEqual(sums, sums_of_decoding)

    def test_of_each_start_are_the_documented_ones(self):
        model = self.path()
        self.counts(out=model, max_iter=1)
        places = {
            "labels": f":{self.data}:/labels",
            "responsibilities": f":{self.data}:/responsibilities",
            "parameters": f":{self.data}:/start",
            "model": f":{model}",
        }
        for start, sums in sums_of_start.items():
            for ranks in (1, 2, 3):
                with self.subTest(start=start, ranks=ranks):
                    counted = self.counts(ranks=ranks, init=start + places.get(start, ""), max_iter=0)

                    self.assertEqual(counted, self.expected(sum(sums_around.values()) + sums))

    def test_known_states_take_one_sum_of_a_start_from_the_sample(self):
        for init, sums in (("kmeans", sums_of_known_states), ("random", sums_of_known_states),
                           (f"parameters:{self.data}:/start", sums_of_start["parameters"])):
            with self.subTest(init=init):
                counted = self.counts("hmm", emission="gaussian", lengths=f"{self.data}:/short_lengths", max_iter=0,
                                      labels=f"{self.data}:/labels", init=init)

                self.assertEqual(counted, self.expected(sum(sums_around.values()) + sums))

    def test_of_checkpoints_and_of_resuming_are_the_documented_ones(self):
        folder = self.path("")
        around = sum(sums_around.values())

        written = self.counts(max_iter=4, checkpoint=folder, every=2)
        # After 2 iterations, after 4, and at the end.
        self.assertEqual(written, self.expected(around + 4 + 3 * sums_of_checkpoint))

        resumed = self.counts(max_iter=6, checkpoint=folder, every=10, resume=True)
        self.assertEqual(resumed, self.expected(around + sums_of_resuming + 2 + sums_of_checkpoint))

    def test_times_of_ranks_travel_at_the_end(self):
        plain, timed = (Counter(self.counts(max_iter=3, **options)) for options in ({}, {"times": self.path(".json")}))

        self.assertEqual(timed - plain, Counter({"MPI_Igatherv": 1, "MPI_Iallreduce": 2}))


if __name__ == "__main__":
    unittest.main()
