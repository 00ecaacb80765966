"""Signals, lost ranks and damaged checkpoints: all ranks end, with one message, and no completed work is lost."""

import fcntl
import glob
import os
import random
import signal
import subprocess
import time
import unittest

import h5py
import numpy as np

from processes import Process, is_running, processes_with, ranks_among
from tally_cli import TallyTest, bits_of, command, mpirun, option_words

data_status, communication_status, stopped_status = 3, 5, 6
rows, columns, components = 8 * 4096 + 500, 3, 4
endless = 10**9  # iterations
patience = 120  # seconds for what takes one or two on an idle machine
ranks = 3


class Faults(TallyTest):
    def setUp(self):
        super().setUp()
        generator = np.random.default_rng(6)
        # Overlapping clusters: a fit that would go on for long.
        x = generator.normal(size=(rows, columns)) + generator.integers(0, components, rows)[:, None]
        self.data = self.write_data(x)
        self.out = os.path.join(self.folder, "out.h5")
        self.checkpoints = os.path.join(self.folder, "checkpoints")
        self.log = os.path.join(self.folder, "log.jsonl")

    def words(self, data=None, **options):
        options = {"components": components, "tol": 0, "threads": 1, "init": "random-from-data", "out": self.out,
                   "log": self.log, "memory": "400K", "max_iter": endless, **options}
        return [command, "fit", "gmm", data or self.data, *option_words(options), "--quiet"]

    def start(self, rank_count, last_words=1, **options):
        """A fit that is under way. mpirun gives the ranks some seconds for their last words."""
        if os.path.exists(self.log):
            os.remove(self.log)
        launcher = [mpirun, "-n", str(rank_count)] if rank_count else []
        environment = {**os.environ, "OMPI_MCA_odls_base_sigkill_timeout": str(last_words)}
        job = subprocess.Popen(launcher + self.words(**options), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True, env=environment)
        self.addCleanup(self.end, job)
        self.wait_until("three iterations", lambda: self.iterations() >= 3 or job.poll() is not None, patience)
        self.assertIsNone(job.poll())
        return job

    def end(self, job):
        if job.poll() is None:
            job.kill()
        job.communicate()

    def iterations(self):
        if not os.path.exists(self.log):
            return 0
        with open(self.log, encoding="utf-8") as file:
            return sum('"iteration"' in line for line in file)

    def ranks_of(self, job):
        """Process ids by rank. Only this job's processes carry the name of its data."""
        found = ranks_among(processes_with(self.data))
        self.assertEqual(len(found), ranks)
        self.assertIsNone(job.poll())
        return found

    def ended(self, job):
        out, error = job.communicate(timeout=patience)
        return job.returncode, out, error

    def assert_gone(self, process_ids):
        self.wait_until("all ranks have ended", lambda: not any(is_running(one) for one in process_ids), 30)

    def errors(self, stderr):
        return [line for line in stderr.splitlines() if line.startswith("tally: error:")]

    def finish(self, rank_count=None, says="", **options):
        """A fit that ends well; returns its model file."""
        launcher = [mpirun, "-n", str(rank_count)] if rank_count else []
        out = self.path()
        words = [word for word in self.words(**{**options, "out": out}) if word != "--quiet"]
        done = subprocess.run(launcher + words, capture_output=True, text=True, timeout=patience, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(says, done.stderr)
        return out

    def assert_unfinished(self, path):
        """It holds completed parameters: what a fit of as many iterations ends with."""
        with h5py.File(path, "r") as file:
            self.assertEqual(file["training"].attrs["status"], "unfinished")
            iterations = int(file["training"].attrs["iterations"])
        whole = bits_of(self.finish(max_iter=iterations))
        stopped = bits_of(path)
        trace = np.frombuffer(stopped.pop("training/objective"))
        np.testing.assert_array_equal(trace, np.frombuffer(whole.pop("training/objective"))[: len(trace)])
        self.assertGreaterEqual(len(trace), iterations)
        self.assertEqual(stopped, whole)


class Requests(Faults):
    def check_stop(self, rank_count, then_rank_count):
        job = self.start(rank_count, checkpoint=self.checkpoints)
        job.send_signal(signal.SIGUSR1)
        if rank_count:
            job.send_signal(signal.SIGUSR1)  # a scheduler may send it twice

        status, out, error = self.ended(job)

        self.assertEqual(status, stopped_status, error)
        self.assertEqual(self.errors(error), [])
        self.assertIn("stopped on request", out)
        self.assert_unfinished(self.out)
        with h5py.File(self.out, "r") as file:
            iterations = int(file["training"].attrs["iterations"]) + 5
        resumed = self.finish(then_rank_count, "resuming", max_iter=iterations, checkpoint=self.checkpoints,
                              resume=True)
        self.assertEqual(bits_of(resumed), bits_of(self.finish(max_iter=iterations)))

    def test_stop_a_lone_fit_with_a_checkpoint(self):
        self.check_stop(None, 2)

    def test_stop_ranks_with_a_checkpoint(self):
        self.check_stop(ranks, 2)

    def test_a_lone_fit_that_is_terminated_leaves_its_parameters(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number):
                job = self.start(None)
                job.send_signal(number)

                status, _, error = self.ended(job)

                self.assertEqual(status, 128 + number, error)
                self.assertIn("marked unfinished", error)
                self.assert_unfinished(self.out)
                os.remove(self.out)

    def test_so_does_one_whose_words_nobody_reads(self):
        words = [word for word in self.words() if word != "--quiet"]
        job = subprocess.Popen(words, stderr=subprocess.PIPE)
        self.addCleanup(self.end, job)
        fcntl.fcntl(job.stderr, fcntl.F_SETPIPE_SZ, 4096)
        self.wait_until("three iterations", lambda: self.iterations() >= 3, patience)

        def stands_still():
            before = self.iterations()
            time.sleep(3)
            return self.iterations() == before

        self.wait_until("it waits for the reader", stands_still, patience)
        job.terminate()

        self.assertEqual(job.wait(timeout=patience), 128 + signal.SIGTERM)
        self.assert_unfinished(self.out)

    def test_ranks_that_are_terminated_leave_their_parameters(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            with self.subTest(signal=number):
                job = self.start(ranks, last_words=4)
                processes = self.ranks_of(job)
                job.send_signal(number)

                status, _, error = self.ended(job)

                self.assertNotEqual(status, 0)
                self.assertEqual(error.count("marked unfinished"), 1, error)
                self.assert_gone(processes)
                self.assert_unfinished(self.out)
                os.remove(self.out)


class LostRanks(Faults):
    def test_a_killed_rank_ends_all(self):
        for rank in range(ranks):
            with self.subTest(rank=rank):
                job = self.start(ranks)
                processes = self.ranks_of(job)
                os.kill(processes[rank], signal.SIGKILL)

                status, _, error = self.ended(job)

                self.assertEqual(status, 128 + signal.SIGKILL, error)
                self.assert_gone(processes)
                self.assertEqual(glob.glob(self.out + ".tmp-*"), [])

    def test_a_rank_that_stands_still_is_named_within_the_deadline(self):
        timeout = 3
        for rank in range(ranks):
            with self.subTest(rank=rank):
                job = self.start(ranks, timeout=timeout)
                processes = self.ranks_of(job)
                os.kill(processes[rank], signal.SIGSTOP)
                self.addCleanup(self.kill_if_running, processes[rank])
                stopped = time.monotonic()

                status, _, error = self.ended(job)

                self.assertGreater(time.monotonic() - stopped, 0.9 * timeout)
                self.assertLess(time.monotonic() - stopped, 10 * timeout)
                self.assertEqual(status, communication_status, error)
                self.assertEqual(len(self.errors(error)), 1, error)
                self.assertIn(f"rank {rank} on", self.errors(error)[0])
                self.assertIn(f"no sign of life for {timeout} s", self.errors(error)[0])
                self.assert_gone(processes)

    def test_a_rank_ends_also_where_mpirun_stands_still(self):
        job = self.start(ranks, timeout=3)
        processes = self.ranks_of(job)
        for process in job.pid, processes[0]:
            os.kill(process, signal.SIGSTOP)
            self.addCleanup(self.kill_if_running, process)

        self.wait_until("the rank that noticed has ended", lambda: not is_running(processes[1]), patience)
        job.send_signal(signal.SIGCONT)
        self.assertEqual(self.ended(job)[0], communication_status)
        self.assert_gone(processes)

    def kill_if_running(self, process_id):
        """Should the test fail; never another process that got the number since."""
        if self.data in Process(process_id).words:
            os.kill(process_id, signal.SIGKILL)

    def each_its_own(self, *lines):
        """Ranks of one job with command lines of their own."""
        together = [mpirun]
        for line in lines:
            together += ([":"] if len(together) > 1 else []) + ["-n", "1", *line]
        return subprocess.run(together, capture_output=True, text=True, timeout=patience, check=False)

    def test_a_file_that_one_rank_cannot_read_ends_all(self):
        missing = os.path.join(self.folder, "missing.h5") + ":/x"
        good, bad = self.words(max_iter=5), self.words(missing, max_iter=5)
        for at in range(ranks):
            with self.subTest(rank=at):
                done = self.each_its_own(*(bad if rank == at else good for rank in range(ranks)))

                self.assertEqual(done.returncode, data_status, done.stderr)
                self.assertEqual(len(self.errors(done.stderr)), 1, done.stderr)
                self.assertIn(f"rank {at} on", done.stderr)
                self.assertIn("missing.h5 does not exist", done.stderr)
                self.assertFalse(os.path.exists(self.out))

    def test_ranks_that_see_other_data_or_options_end(self):
        short = self.write_data(np.zeros((5000, columns)))
        for other, status, says in ((self.words(short, max_iter=5), data_status, f"5000 to {rows} rows"),
                                    (self.words(max_iter=5, components=3), 2, "different options"),
                                    (self.words(max_iter=6), 2, "different options"),
                                    (self.words(max_iter=5, checkpoint=self.checkpoints), 2, "different options")):
            with self.subTest(says=says):
                done = self.each_its_own(self.words(max_iter=5), other)

                self.assertEqual(done.returncode, status, done.stderr)
                self.assertEqual(len(self.errors(done.stderr)), 1, done.stderr)
                self.assertIn(says, done.stderr)
                self.assertFalse(os.path.exists(self.out))


class Checkpoints(Faults):
    def test_the_newest_is_whole_after_a_kill_at_any_moment(self):
        moments = random.Random(7)
        done = 0
        for _ in range(12):
            line = self.words(checkpoint=self.checkpoints, every=1, resume=True)
            job = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.addCleanup(self.end, job)
            before = self.iterations()
            self.wait_until("two more iterations", lambda: self.iterations() >= before + 2 or job.poll() is not None, patience)
            time.sleep(moments.uniform(0, 0.05))
            self.assertIsNone(job.poll())
            job.kill()
            job.communicate()

            newest = sorted(glob.glob(os.path.join(self.checkpoints, "checkpoint-*.h5")))[-1]
            with h5py.File(newest, "r") as file:
                written = int(file["checkpoint/models/0000"].attrs["iteration"])
            self.assertGreater(written, done)
            done = written
        iterations = done + 3
        resumed = self.finish(2, f"resuming after iteration {done}", max_iter=iterations,
                              checkpoint=self.checkpoints, resume=True)
        self.assertEqual(bits_of(resumed), bits_of(self.finish(max_iter=iterations)))
        self.assertEqual(glob.glob(os.path.join(self.checkpoints, "*.tmp-*")), [])

    def test_a_damaged_one_is_skipped_for_the_one_before(self):
        expected = bits_of(self.finish(max_iter=9))

        def truncate(path):
            os.truncate(path, os.path.getsize(path) // 2)

        def flip_a_bit(path):
            with open(path, "r+b") as file:
                file.seek(os.path.getsize(path) // 2)
                byte = file.read(1)[0]
                file.seek(-1, os.SEEK_CUR)
                file.write(bytes([byte ^ 4]))

        for damage in (truncate, flip_a_bit, lambda path: os.truncate(path, 0)):
            folder = self.path("")
            self.finish(max_iter=6, checkpoint=folder, every=2)
            newest = sorted(os.listdir(folder))[-1]
            damage(os.path.join(folder, newest))

            resumed = self.finish(ranks, f"{newest} ", max_iter=9, checkpoint=folder, resume=True)

            self.assertEqual(bits_of(resumed), expected)

    def test_a_resumed_fit_goes_on_under_a_smaller_tolerance(self):
        options = {"max_iter": 1000, "checkpoint": self.checkpoints}
        self.finish(tol=1e-2, **options)

        resumed = self.finish(tol=1e-4, resume=True, **options)

        self.assertEqual(bits_of(resumed), bits_of(self.finish(tol=1e-4, max_iter=1000)))


if __name__ == "__main__":
    unittest.main()
