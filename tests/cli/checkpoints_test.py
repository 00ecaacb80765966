"""What a fit resumes from: its own data, a folder that is its own, checkpoints that are whole."""

import os
import random
import shutil
import socket
import subprocess
import time
import unittest

import h5py
import numpy as np

from tally_cli import Model, TallyTest, command, data_status, run

rows, columns, components = 3000, 3, 2
endless = 10**9  # iterations
other_status = 1
patience = 60  # seconds for what takes a few on an idle machine


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


class Damage(Checkpoints):
    def test_an_altered_byte_anywhere_is_found_and_the_one_before_is_taken(self):
        data = self.write_data(self.values)
        undisturbed = self.path()
        self.succeed("fit", "gmm", data, "-k", components, "--tol", 0, "--init", "random-from-data", "--max-iter", 6,
                     "--out", undisturbed)
        self.succeed(*self.words(data, 4, "--every", "1"))
        newest = sorted(os.listdir(self.checkpoints))[-1]
        kept = self.path("")
        shutil.copytree(self.checkpoints, kept)
        with open(os.path.join(kept, newest), "rb") as file:
            line, size = len(file.readline()), os.path.getsize(os.path.join(kept, newest))
        block = 512  # of which the line fills a part; zeros that nobody reads follow
        draw = random.Random(5)
        places = [*range(0, line, 6), line - 1, block, size - 1, *(draw.randrange(block, size) for _ in range(10))]
        for place in places:
            with self.subTest(byte=place):
                shutil.rmtree(self.checkpoints)
                shutil.copytree(kept, self.checkpoints)
                with open(os.path.join(self.checkpoints, newest), "r+b") as file:
                    file.seek(place)
                    byte = file.read(1)[0]
                    file.seek(place)
                    file.write(bytes([byte ^ 1 << draw.randrange(8)]))
                out = self.path()

                done = run(*self.words(data, 6, "--resume", out=out))

                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn(f"skipping a checkpoint: {os.path.join(self.checkpoints, newest)} ", done.stderr)
                self.assertIn("resuming after iteration", done.stderr)
                np.testing.assert_array_equal(Model(out)["means"], Model(undisturbed)["means"])


    def setUp(self):
        super().setUp()
        self.data = self.write_data(self.values)

    def fit_so_far(self):
        """Leaves the checkpoints 4 and 5; returns their paths."""
        self.succeed(*self.words(self.data, 4, "--every", "1"))
        names = sorted(os.listdir(self.checkpoints))
        self.assertEqual(names, ["checkpoint-00000004.h5", "checkpoint-00000005.h5"])
        return [os.path.join(self.checkpoints, name) for name in names]

    def contents(self, path):
        with open(path, "rb") as file:
            return file.read()

    def test_a_damaged_one_is_named_under_quiet_and_set_aside(self):
        _, newest = self.fit_so_far()
        for number, name in enumerate((".damaged", ".damaged-2")):
            os.truncate(newest, 1000 + number)
            before = self.contents(newest)

            done = self.succeed(*self.words(self.data, 4, "--every", "1", "--resume", "--quiet"))

            self.assertIn(f"skipping a checkpoint: {newest} is damaged", done.stderr)
            self.assertEqual(self.contents(newest + name), before)

    def test_one_that_cannot_be_read_is_an_error_and_stays(self):
        def a_folder(path):
            os.remove(path)
            os.mkdir(path)

        def of_a_later_tally(path):
            with open(path, "r+b") as file:
                file.write(b"tally archive 2 ")

        for make, says in ((a_folder, "cannot be read: Is a directory"), (of_a_later_tally, "was written by a newer Tally")):
            with self.subTest(says):
                shutil.rmtree(self.checkpoints, ignore_errors=True)
                earlier, newest = self.fit_so_far()
                make(newest)

                self.resume(self.data, status=data_status, says=f"{newest} {says}")

                self.assertEqual([os.path.exists(path) for path in (earlier, newest)], [True, True])

    def test_where_none_is_whole_the_fit_ends_and_all_stay(self):
        both = self.fit_so_far()
        for path in both:
            os.truncate(path, 100)

        self.resume(self.data, ranks=2, status=data_status, says=f"no checkpoint in {self.checkpoints} is whole: {both[1]} is")

        self.assertEqual([os.path.getsize(path) for path in both], [100, 100])


class Names(Checkpoints):
    def setUp(self):
        super().setUp()
        self.data = self.write_data(self.values)

    def names(self):
        return sorted(os.listdir(self.checkpoints))

    def test_only_its_own_files_are_read_and_removed(self):
        self.succeed(*self.words(self.data, 4, "--every", "1"))
        others = ["checkpoint-best.h5", "checkpoint-7.h5", "checkpoint-000000009.h5", "checkpoint-00000009.h5.bak",
                  "checkpoint-best.h5.tmp-1", "checkpoint-00000009.h5.tmp-mine", "other.h5"]
        for name in others:
            shutil.copy(os.path.join(self.checkpoints, "checkpoint-00000004.h5"), os.path.join(self.checkpoints, name))
        unfinished = os.path.join(self.checkpoints, "checkpoint-00000009.h5.tmp-0123abcd")
        shutil.copy(self.data.split(":")[0], unfinished)

        self.resume(self.data, "--every", "1", says="resuming after iteration 4")

        self.assertEqual(self.names(), sorted(["checkpoint-00000006.h5", "checkpoint-00000007.h5", *others]))

    def test_others_names_are_no_checkpoints(self):
        os.mkdir(self.checkpoints)
        with open(os.path.join(self.checkpoints, "checkpoint-best.h5"), "wb"):
            pass
        self.succeed(*self.words(self.data, 2))

    def test_numbers_of_more_digits_are_later(self):
        self.succeed(*self.words(self.data, 4, "--every", "1"))
        shutil.move(os.path.join(self.checkpoints, "checkpoint-00000005.h5"),
                    os.path.join(self.checkpoints, "checkpoint-100000000.h5"))
        shutil.copy(os.path.join(self.checkpoints, "checkpoint-00000004.h5"),
                    os.path.join(self.checkpoints, "checkpoint-99999999.h5"))

        self.resume(self.data, "--every", "1", says="resuming after iteration 4")

        self.assertEqual(self.names(), ["checkpoint-100000002.h5", "checkpoint-100000003.h5"])

    def test_the_one_gone_on_from_stays_until_two_are_newer(self):
        self.succeed(*self.words(self.data, 4, "--every", "1"))
        shutil.move(os.path.join(self.checkpoints, "checkpoint-00000005.h5"),
                    os.path.join(self.checkpoints, "checkpoint-00000020.h5"))  # as though another start had done as many

        self.succeed(*self.words(self.data, 5, "--resume"))

        self.assertEqual(self.names(), ["checkpoint-00000020.h5", "checkpoint-00000021.h5"])


class TwoJobs(Checkpoints):
    def setUp(self):
        super().setUp()
        self.data = self.write_data(self.values)
        self.lock = os.path.join(self.checkpoints, "lock")

    def start(self, *words, until):
        """A fit without an end, once `until()` holds."""
        log = self.path(".log")
        with open(log, "w", encoding="utf-8") as file:
            job = subprocess.Popen([command, *self.words(self.data, endless, *words)], stderr=file)
        job.log = log
        self.addCleanup(lambda: (job.poll() is None and job.kill(), job.wait()))
        self.wait_until("the fit is under way", lambda: job.poll() is not None or until(job), patience, lambda: self.says(job))
        self.assertIsNone(job.poll(), self.says(job))
        return job

    def says(self, job):
        with open(job.log, encoding="utf-8") as file:
            return file.read()

    def start_first(self):
        return self.start(until=lambda job: any(name.endswith(".h5") for name in self.kept()))

    def kept(self):
        return os.listdir(self.checkpoints) if os.path.isdir(self.checkpoints) else []

    def test_the_second_is_refused_and_named_the_first(self):
        first = self.start_first()

        for ranks, words in ((1, ()), (2, ("--resume", "--timeout", "2"))):
            with self.subTest(ranks=ranks):
                second = run(*self.words(self.data, 6, *words), ranks=ranks)

                self.assertEqual(second.returncode, other_status, second.stderr)
                self.assertIn(f"{self.checkpoints} is in use by process {first.pid} on {socket.gethostname()}; give",
                              second.stderr)
        self.assertIsNone(first.poll())

    def test_a_killed_job_leaves_no_lock(self):
        first = self.start_first()
        first.kill()
        first.wait()
        start = time.monotonic()

        self.start("--resume", until=lambda job: "resuming after" in self.says(job))

        self.assertTrue(os.path.exists(self.lock))
        self.assertLess(time.monotonic() - start, patience)

    def test_one_that_waits_goes_on_when_the_first_has_ended(self):
        first = self.start_first()
        with open(self.lock, "w", encoding="utf-8") as file:
            file.write("elsewhere 7\n")  # as though on a host that may have been lost
        second = self.start("--resume", until=lambda job: "in use by process 7 on elsewhere: waiting 120 s" in
                            self.says(job))
        time.sleep(1)
        self.assertNotIn("resuming", self.says(second))
        first.kill()

        self.wait_until("the second goes on", lambda: "resuming after" in self.says(second), patience, lambda: self.says(second))

    def test_a_fit_that_ends_leaves_checkpoints_alone(self):
        self.succeed(*self.words(self.data, 5, "--every", "2"))

        self.assertEqual([name for name in self.kept() if not name.startswith("checkpoint-")], [])


if __name__ == "__main__":
    unittest.main()
