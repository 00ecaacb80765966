"""tally fit --times: where the time of every iteration went on every rank."""

import json
import unittest

import numpy as np

from tally_cli import TallyTest, data_status

parts = ("read", "compute", "wait", "allreduce", "maximize")


class Times(TallyTest):
    def setUp(self):
        super().setUp()
        self.data = self.write_data(np.random.default_rng(5).normal(size=(30000, 8)))

    def times(self, ranks, iterations, **options):
        file = self.path(".json")
        self.fit("gmm", self.data, 4, ranks=ranks, max_iter=iterations, tol=0.0, init="random-from-data", threads=1,
                 times=file, **options)
        with open(file, encoding="utf-8") as text:
            return json.load(text)["ranks"]

    def test_every_iteration_of_every_rank_is_there(self):
        ranks = self.times(ranks=3, iterations=4)
        self.assertEqual([rank["rank"] for rank in ranks], [0, 1, 2])
        for rank in ranks:
            self.assertGreater(rank["start_seconds"], 0)
            whole = np.array(rank["iteration_seconds"])
            split = np.array([rank[f"{part}_seconds"] for part in parts])
            self.assertEqual(split.shape, (5, 5))  # four M-steps and the closing E-step
            self.assertTrue((split >= 0).all())
            # Each rank's iteration lasts as long as its parts, but for clocks and what lies between them.
            self.assertTrue((split.sum(axis=0) <= whole + 1e-4).all(), f"{split.sum(axis=0)} {whole}")
            self.assertGreater(min(rank["compute_seconds"]), 0)
            self.assertGreater(min(rank["processor_seconds"]), 0)

    def test_someone_waits_for_nobody(self):
        ranks = self.times(ranks=2, iterations=3)
        waited = np.array([rank["wait_seconds"] for rank in ranks])
        np.testing.assert_array_equal(waited.min(axis=0), 0)
        allreduce = [rank["allreduce_seconds"] for rank in ranks]
        self.assertEqual(allreduce[0], allreduce[1])

    def test_only_streamed_rows_are_waited_for(self):
        resident, = self.times(ranks=1, iterations=3)
        self.assertEqual(max(resident["read_seconds"]), 0)
        streamed, = self.times(ranks=1, iterations=3, memory="1M")
        self.assertGreater(min(streamed["read_seconds"]), 0)

    def test_what_is_read_is_not_replaced(self):
        file = self.data.split(":")[0]
        self.refuse_fit("gmm", self.data, 2, times=file, status=2, says="is read")
        file = self.path("/times.json")
        self.refuse_fit("gmm", self.data, 2, times=file, status=data_status, says=file)


if __name__ == "__main__":
    unittest.main()
