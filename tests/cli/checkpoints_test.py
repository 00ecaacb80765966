"""What a fit resumes from: its own data."""

import os
import unittest

import h5py
import numpy as np

from tally_cli import TallyTest, data_status, run

rows, columns, components = 3000, 3, 2


class Checkpoints(TallyTest):
    def setUp(self):
        super().setUp()
        self.values = np.random.default_rng(4).normal(size=(rows, columns))
        self.checkpoints = os.path.join(self.folder, "checkpoints")

    def words(self, data, max_iter, *words, out=None):
        return ["fit", "gmm", data, "-k", str(components), "--tol", "0", "--threads", "1", "--init", "random-from-data",
                "--max-iter", str(max_iter), "--out", out or self.path(), "--checkpoint", self.checkpoints, *words]

    def resume(self, data, *words, ranks=1, status=0, says=""):
        done = run(*self.words(data, 6, "--resume", *words), ranks=ranks)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertIn(says, done.stderr)


class ChangedData(Checkpoints):
    def refuse_others(self, data, others, *words):
        """`others`: the words that stand for changed data. Those of `data` are resumed from, copied or not."""
        self.succeed(*self.words(data, 3, *words))
        for name, other in others.items():
            for ranks in (1, 2):
                with self.subTest(changed=name, ranks=ranks):
                    self.resume(*other, ranks=ranks, status=data_status, says="the data have changed since the checkpoint")
        self.resume(data, *words, says="resuming after iteration")

    def test_a_value_by_its_last_bit_and_two_rows_that_changed_places(self):
        values = np.round(self.values * 8)  # whose sums are the same in any order
        nudged, swapped = values.copy(), values.copy()
        nudged[rows // 2, 1] = np.nextafter(nudged[rows // 2, 1], np.inf)
        swapped[[10, 2000]] = swapped[[2000, 10]]
        self.refuse_others(self.write_data(values), {"a bit": [self.write_data(nudged)],
                                                     "two rows": [self.write_data(swapped)]})

    def test_weights_that_changed_places(self):
        weights = np.ones(rows)
        weights[7] = 2
        data = self.write_data(self.values)
        self.refuse_others(data, {"weights": [data, "--weights", self.write_data(np.roll(weights, 1))],
                                  "none": [data]}, "--weights", self.write_data(weights))

    def test_lengths_and_labels_of_sequences(self):
        data = self.write_data(self.values)
        lengths, labels = np.array([rows // 2, rows - rows // 2]), np.full(rows, -1)
        labels[:2] = 0, 1
        other_labels = labels.copy()
        other_labels[1] = 0

        def words(lengths, labels):
            return ["--lengths", self.write_data(lengths), "--labels", self.write_data(labels)]

        original = self.words
        self.words = lambda *arguments, **named: [word.replace("gmm", "hmm") for word in original(*arguments, **named)]
        self.refuse_others(data, {"lengths": [data, *words(lengths + [5, -5], labels)],
                                  "labels": [data, *words(lengths, other_labels)]}, *words(lengths, labels))

    def test_the_same_rows_elsewhere_are_the_same_data(self):
        whole = np.round(self.values * 8)
        self.succeed(*self.words(self.write_data(whole), 3))
        first, second = self.write_data(whole[:1000]), self.path()
        with h5py.File(second, "w") as file:
            file.create_dataset("x", data=whole[1000:].astype(np.float32), chunks=(100, columns), compression="gzip")

        self.resume(first, second + ":/x", ranks=3, says="resuming after iteration")


if __name__ == "__main__":
    unittest.main()
