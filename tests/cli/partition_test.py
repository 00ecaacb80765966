"""tally partition: a file for each rank, of which a host needs only those of its own ranks."""

import os
import resource
import shlex
import shutil
import subprocess
import unittest

import h5py
import numpy as np

from tally_cli import Model, TallyTest, command, data_status, mpirun, usage_status

# Ranks that each work in the folder of their own number.
EACH_IN_ITS_FOLDER = 'cd "$0/${OMPI_COMM_WORLD_RANK:-${PMI_RANK:-0}}" && exec "$@"'


class PartitionTest(TallyTest):
    def setUp(self):
        super().setUp()
        random = np.random.default_rng(5)
        self.x = random.normal(size=(20000, 2)).astype(np.float32)
        self.file = self.path()
        with h5py.File(self.file, "w") as file:
            file.create_dataset("x", data=self.x, chunks=(1000, 2))
            file["w"] = random.uniform(size=20000)
            file["y"] = random.integers(0, 3, size=20000)
            file["lengths"] = np.full(2000, 10)
            file["sequence_w"] = random.uniform(size=2000)
            file["states"] = random.integers(-1, 2, size=20000)
        self.data = self.file + ":/x"
        self.options = ["-k", "3", "--tol", "0", "--max-iter", "3"]
        self.chain_options = ["--states", "2", "--emission", "gaussian", "--tol", "0", "--max-iter", "3"]
        self.gmm = ["fit", "gmm", self.data, *self.options]

    def partition(self, fit, *words, ranks=1):
        """The folder, and the words that name what is in it, seen from there."""
        folder = self.path("")
        printed = self.succeed("partition", *words, "--out", folder, "--", *fit, ranks=ranks).stdout
        return folder, printed.splitlines()[-1].split(" with ")[1].replace(folder + os.sep, "").split()

    def test_words_of_the_fit_for_a_shell(self):
        folder = self.path(" of 'mine'")
        chain = ["fit", "hmm", self.data, *self.chain_options, "--lengths", self.file + ":/lengths"]
        for fit, given in ((self.gmm, ["--weights", self.file + ":/w"]), (chain, ["--weights", self.file + ":/sequence_w"])):
            printed = self.succeed("partition", "-n", 2, "--out", folder, "--", *fit, *given).stdout
            data, *others = shlex.split(printed.splitlines()[-1].split(" with ")[1])
            self.assertEqual(data, f"{folder}/data.h5:/x")
            self.assertTrue(all(word.startswith(("--", folder + "/")) for word in others), others)
            shutil.rmtree(folder)

    def fit_in_own_folders(self, folder, ranks, *fit):
        """The process of a fit whose ranks each see the index, the sequences and the file of their own number."""
        hosts = self.path("")
        for rank in range(ranks):
            own = os.path.join(hosts, str(rank))
            os.makedirs(own)
            for name in ("data.h5", "sequences.h5", f"rank-{rank:04}.h5"):
                if os.path.exists(os.path.join(folder, name)):
                    shutil.copy(os.path.join(folder, name), own)
        program = shutil.which(command)
        line = [mpirun, "-n", str(ranks), "sh", "-c", EACH_IN_ITS_FOLDER, hosts, os.path.abspath(program), *fit, "--quiet"]
        return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)

    def same_bits_as_whole(self, model, options, given=(), ranks=3):
        """Fits the whole files, and the parts by the words that partition has for them, which are returned."""
        whole, split = self.path(), self.path()
        fit = ["fit", model, self.data, *options, *given]
        self.succeed(*fit, "--quiet", "--out", whole)
        folder, named = self.partition(fit, "-n", ranks)
        process = self.fit_in_own_folders(folder, ranks, "fit", model, *named, *options, "--out", split)
        self.assertEqual(process.returncode, 0, process.stderr)
        expected, found = Model(whole), Model(split)
        np.testing.assert_array_equal(found.trace, expected.trace)
        for name, array in expected.parameters.items():
            np.testing.assert_array_equal(found[name], array)
        self.assertEqual(found.training["fingerprint"], expected.training["fingerprint"])
        return named

    def test_a_rank_needs_its_own_file_alone(self):
        for init in ("kmeans", "k-means++", "random-from-data"):
            self.assertEqual(self.same_bits_as_whole("gmm", self.options + ["--init", init]), ["data.h5:/x"])

    def test_weights_and_labels_of_rows_are_split_too(self):
        given = ["--weights", self.file + ":/w", "--init", f"labels:{self.file}:/y"]
        named = self.same_bits_as_whole("gmm", self.options, given)
        self.assertEqual(named, ["data.h5:/x", "--weights", "data.h5:/weights", "--init", "labels:data.h5:/given"])

    def test_sequences_with_weights_and_known_states(self):
        given = ["--lengths", self.file + ":/lengths", "--weights", self.file + ":/sequence_w", "--labels", self.file + ":/states"]
        named = self.same_bits_as_whole("hmm", self.chain_options, given)
        self.assertEqual(named, ["data.h5:/x", "--labels", "data.h5:/given", "--lengths", "sequences.h5:/lengths", "--weights",
                                 "sequences.h5:/weights"])

    def test_one_sequence_over_several_ranks(self):
        self.assertEqual(self.same_bits_as_whole("hmm", self.chain_options), ["data.h5:/x"])

    def test_fewer_ranks_name_the_missing_file(self):
        folder, named = self.partition(self.gmm, "-n", 3)
        process = self.fit_in_own_folders(folder, 2, "fit", "gmm", *named, *self.options, "--out", "m.h5")
        self.assertEqual(process.returncode, data_status, process.stderr)
        errors = [line for line in process.stderr.splitlines() if line.startswith("tally: error:")]
        self.assertEqual(len(errors), 1, process.stderr)
        self.assertRegex(errors[0], r"rank-000\d.h5 does not exist; rows \d+ to \d+ of data.h5:/x are in it")

    def test_python_reads_the_index_as_the_data(self):
        folder, _ = self.partition(self.gmm + ["--weights", self.file + ":/w"], "-n", 3)
        with h5py.File(os.path.join(folder, "data.h5"), "r") as index, h5py.File(self.file, "r") as file:
            np.testing.assert_array_equal(index["x"][()], self.x)
            self.assertEqual(index["x"].dtype, np.float32)
            np.testing.assert_array_equal(index["weights"][()], file["w"][()])

    def test_ranks_share_the_work_and_change_no_byte(self):
        files = []
        for ranks in (1, 2):
            folder, _ = self.partition(self.gmm, "-n", 3, ranks=ranks)
            self.assertEqual(sorted(os.listdir(folder)), ["data.h5", "rank-0000.h5", "rank-0001.h5", "rank-0002.h5"])
            contents = []
            for name in sorted(os.listdir(folder)):
                with open(os.path.join(folder, name), "rb") as file:
                    contents.append(file.read())
            files.append(contents)
        self.assertEqual(files[0], files[1])

    def test_ranks_without_rows_have_no_file(self):
        folder, named = self.partition(self.gmm, "-n", 9)
        self.assertLess(len(os.listdir(folder)), 9)
        process = self.fit_in_own_folders(folder, 9, "fit", "gmm", *named, *self.options, "--out", "m.h5")
        self.assertEqual(process.returncode, 0, process.stderr)

    def test_parts_follow_a_description_of_the_cluster(self):
        cluster = self.path(".json")
        with open(cluster, "w", encoding="utf-8") as out:
            out.write('{"nodes": [{"name": "n{}", "count": 2, "domains": [{"cores": "0-3", "memory_bytes": 1000000000}]}]}')
        folder = self.path("")
        printed = self.succeed("partition", "--cluster", cluster, "--out", folder, "--", *self.gmm).stdout
        self.assertRegex(printed, r"n0 +rank-0000.h5")
        self.assertRegex(printed, r"n1 +rank-0001.h5")

    def test_a_failure_leaves_nothing(self):
        index = self.path()
        with h5py.File(index, "w", libver="latest") as file:
            layout = h5py.VirtualLayout(shape=(30000, 2), dtype="f4")
            layout[:20000] = h5py.VirtualSource(self.file, "x", shape=(20000, 2))
            layout[20000:] = h5py.VirtualSource("nowhere.h5", "x", shape=(10000, 2))
            file.create_virtual_dataset("x", layout)
        folder = os.path.join(self.folder, "parts")
        for ranks in (1, 2):
            self.refuse("partition", "-n", 3, "--out", folder, "--", "fit", "gmm", index + ":/x", "-k", "3", ranks=ranks,
                        says="nowhere.h5 does not exist; rows 20000 to 29999")
        self.assertFalse(os.path.exists(folder))

    def test_a_full_disk_leaves_nothing(self):
        folder = os.path.join(self.folder, "parts")
        process = subprocess.run([command, "partition", "-n", "3", "--out", folder, "--", *self.gmm], capture_output=True,
                                 text=True, timeout=60, check=False,
                                 preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100000, 100000)))
        self.assertEqual(process.returncode, data_status, process.stderr)
        self.assertFalse(os.path.exists(folder))

    def test_refusals(self):
        used = self.path("")
        os.mkdir(used)
        with open(os.path.join(used, "mine"), "w", encoding="utf-8"):
            pass
        self.refuse("partition", "-n", 2, "--out", used, "--", *self.gmm, status=usage_status, says="is not an empty folder")
        self.assertEqual(os.listdir(used), ["mine"])
        self.refuse("partition", "-n", 2, "--out", self.file, "--", *self.gmm, says="cannot be made")
        new = os.path.join(self.folder, "parts")
        self.refuse("partition", "-n", 2, "--out", new, status=usage_status, says="after --")
        self.refuse("partition", "-n", 2, "--out", new, "--", "fit", "gmm", self.file + ":/z", "-k", "3", says="no data set /z")
        self.refuse("partition", "--out", new, "--", *self.gmm, ranks=2, status=usage_status, says="needs -n or --cluster")
        self.refuse("partition", "-n", 2, "--", *self.gmm, status=usage_status, says="--out is required")


if __name__ == "__main__":
    unittest.main()
