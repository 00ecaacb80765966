"""Where ranks would run and what each would read: tally topology and tally plan, on this host and on recorded ones."""

import json
import os
import unittest

import h5py
import numpy as np

from tally_cli import TallyTest, data_folder, run, usage_status

CLUSTERS = os.path.join(data_folder, "clusters")


class PlanTest(TallyTest):
    def setUp(self):
        super().setUp()
        self.file = self.path()
        with h5py.File(self.file, "w") as file:
            file.create_dataset("x", data=np.random.default_rng(1).normal(size=(40960, 4)), chunks=(1024, 4))
            file["lengths"] = np.full(4096, 10)
        self.data = self.file + ":/x"

    def plan(self, *words, job=()):
        process = self.succeed("plan", "--json", *words, "--", "fit", *job)
        return json.loads(process.stdout)

    def test_topology_of_this_host_is_a_cluster_for_plan(self):
        described = json.loads(self.succeed("topology").stdout)
        self.assertEqual(len(described["nodes"]), 1)
        file = self.path(".json")
        with open(file, "w", encoding="utf-8") as out:
            json.dump(described, out)
        here = self.plan("-n", 2, job=("gmm", self.data, "-k", 3))
        self.assertEqual(here, self.plan("-n", 2, "--cluster", file, job=("gmm", self.data, "-k", 3)))

    def test_ranks_of_one_host_are_described_once(self):
        alone = json.loads(self.succeed("topology").stdout)
        self.assertEqual(json.loads(self.succeed("topology", ranks=3).stdout), alone)

    def test_gpu_nodes(self):
        plan = self.plan("--cluster", os.path.join(CLUSTERS, "gpu_nodes.json"),
                         job=("gmm", self.data, "-k", 3, "--device", "cuda"))
        self.assertEqual(len(plan["ranks"]), 32)
        self.assertEqual([rank["gpu"] for rank in plan["ranks"][:8]], list(range(8)))
        self.assertEqual(plan["ranks"][9]["cores"], "12-23")
        self.assertTrue(any("have no rows" in warning for warning in plan["warnings"]))

    def test_shares_are_those_of_the_fit(self):
        plan = self.plan("--cluster", os.path.join(CLUSTERS, "two_sockets.json"), "-n", 4,
                         job=("gmm", self.data, "-k", 3))
        self.assertEqual([rank["rows"] for rank in plan["ranks"]], [12288, 12288, 8192, 8192])
        self.assertEqual(sum(rank["file_bytes"] for rank in plan["ranks"]), 40960 * 4 * 8)
        self.assertFalse(any(rank["first_chunk_read_twice"] for rank in plan["ranks"]))

    def test_sequences(self):
        plan = self.plan("-n", 2, job=("hmm", self.data, "--lengths", self.file + ":/lengths", "--states", 2,
                                       "--emission", "gaussian"))
        self.assertEqual(sum(rank["sequences"] for rank in plan["ranks"]), 4096)
        self.assertEqual([rank["rows"] % 10 for rank in plan["ranks"]], [0, 0])

    def test_memory_of_a_chain(self):
        states, block_rows, columns = 24, 16384, 4
        for streamed in ([], ["--memory", "1K"]):
            plan = self.plan("-n", 1, job=("hmm", self.data, "--states", states, "--emission", "gaussian", "--threads", 1,
                                           *streamed))
            recursions = 3 * block_rows * (states + 1) * 8
            rows = (3 * block_rows if streamed else 40960) * (columns + 1) * 8
            self.assertEqual(plan["ranks"][0]["streamed"], bool(streamed))
            self.assertGreater(plan["ranks"][0]["memory_needed_bytes"], 0.95 * (rows + recursions))
            self.assertLess(plan["ranks"][0]["memory_needed_bytes"], 1.05 * (rows + recursions))

    def test_table(self):
        table = self.succeed("plan", "-n", 2, "--", "fit", "kmeans", self.data, "-k", 3).stdout
        self.assertIn("first row", table)
        self.assertIn("imbalance", table)

    def test_refusals(self):
        gpus = os.path.join(CLUSTERS, "gpu_nodes.json")
        self.refuse("plan", status=usage_status, says="the fit that is planned, after --")
        self.refuse("plan", "--", "score", self.data, status=usage_status, says="after --")
        self.refuse("plan", "--", "fit", "gmm", self.data, status=usage_status, says="--components is needed")
        self.refuse("plan", "--", "fit", "gmm", "--help", status=usage_status, says="see tally fit --help")
        self.refuse("plan", "-n", 33, "--cluster", gpus, "--", "fit", "gmm", self.data, "-k", 3, "--device", "cuda",
                    status=usage_status, says="there is room for 32")
        self.refuse("plan", "--", "fit", "gmm", self.data, "-k", 3, "--device", "cuda", status=usage_status,
                    says="has no usable GPU")
        self.refuse("plan", "--cluster", "none.json", "--", "fit", "gmm", self.data, "-k", 3, says="none.json cannot be read")
        self.refuse("plan", "--cluster", self.file, "--", "fit", "gmm", self.data, "-k", 3, says="does not describe a cluster: parse error at line 1")
        self.refuse("plan", "--", "fit", "gmm", self.file + ":/y", "-k", 3, says="no data set /y")
        self.refuse("plan", "--", "fit", "gmm", self.data, "-k", 3, ranks=2, status=usage_status, says="is run alone")


if __name__ == "__main__":
    unittest.main()
