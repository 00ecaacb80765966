"""SIGKILL at random moments of a rank, of mpirun and of tally launch itself: each time all of the job is gone within a deadline,
no checkpoint that was whole is lost, and in the end the fit has the bits of one that was left alone."""

import os
import random
import re
import signal
import subprocess
import time
import unittest
import uuid
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from processes import Process, processes_marked
from tally_cli import TallyTest, bits_of, command, newest_checkpoint

stopped_status = 6
ranks, components = 3, 3
endless = 10**9  # iterations: nothing ends by itself
deadline = 90  # seconds from a kill until nothing of it runs any more; three on an idle machine
start_deadline = 180  # until a job has started, and until it has written a checkpoint
at_once = 4  # jobs, which wait most of the time


class Job:
    """A fit that is killed and goes on, until it has ended."""

    def __init__(self, test, data, name):
        self.test, self.mark = test, uuid.uuid4().hex
        self.out, self.log = os.path.join(test.folder, name + ".h5"), os.path.join(test.folder, name + ".log")
        self.checkpoints = os.path.join(test.folder, name)
        temporary = os.path.join(test.folder, name + ".tmp")  # for what a killed mpirun leaves there
        os.mkdir(temporary)
        self.environment = {**os.environ, "TALLY_TEST_MARK": self.mark, "TMPDIR": temporary}
        self.fit = ["fit", "gmm", data, "-k", str(components), "--init", "random-from-data", "--tol", "0", "--threads", "1",
                    "--out", self.out, "--checkpoint", self.checkpoints, "--every", "1"]
        self.kills = []  # where the log stood, and the newest checkpoint of then
        self.launcher = None

    def start(self, max_iter=endless):
        line = [command, "launch", "-n", str(ranks), "--max-restarts", "1000", "--", *self.fit, "--max-iter", str(max_iter)]
        line += ["--resume"] if self.launcher else []
        with open(self.log, "a", encoding="utf-8") as log:
            self.launcher = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=log, env=self.environment)

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def newest(self):
        return newest_checkpoint(self.checkpoints)

    def processes(self):
        return processes_marked(self.mark)

    def living_ranks(self):
        return {process for process in self.processes() if process.rank is not None}

    def wait(self, condition, seconds, what):
        self.test.wait_until(what, condition, seconds, lambda: self.said()[-3000:])

    def wait_for_a_checkpoint(self):
        before = self.newest()
        self.wait(lambda: self.newest() > before, start_deadline, "a checkpoint is written")

    def status(self):
        return self.launcher.wait(timeout=deadline)

    def kill(self, process):
        """Whether it was still there."""
        before = os.path.getsize(self.log), self.newest()
        try:
            os.kill(process.number, signal.SIGKILL)
        except ProcessLookupError:
            return False
        self.kills.append(before)
        return True


class Kills(TallyTest):
    def setUp(self):
        super().setUp()
        generator = np.random.default_rng(8)
        x = generator.normal(size=(3000, 3)) + generator.integers(0, components, 3000)[:, None]
        self.data = self.write_data(x)

    def end(self, job):
        """Should the test fail."""
        for process in job.processes():
            os.kill(process.number, signal.SIGKILL)
        if job.launcher:
            job.launcher.wait()

    def at_random_moments(self, kills, shoot):
        """So many kills, of several jobs at once. `shoot(job, moments, ranks)` kills in a job that runs these ranks, and says
        whether it did."""
        def one(number):
            job = Job(self, self.data, f"job-{number}")
            try:
                self.kill_often(job, kills // at_once, shoot, random.Random(number))
                self.check_end(job)
            finally:
                self.end(job)

        with ThreadPoolExecutor(at_once) as pool:
            list(pool.map(one, range(at_once)))

    def kill_often(self, job, kills, shoot, moments):
        """While its ranks start, or while they write checkpoints."""
        job.start()
        killed = set()
        while len(job.kills) < kills:
            job.wait(lambda: job.living_ranks() - killed, start_deadline, "a rank starts")
            if moments.random() < 0.75:
                job.wait_for_a_checkpoint()
                time.sleep(moments.uniform(0, 0.1))
            else:
                time.sleep(moments.uniform(0, 1.0))
            alive = job.living_ranks() - killed
            if not alive or not shoot(job, moments, alive):
                continue
            gone = lambda: not any(Process(one.number) == one for one in alive)
            job.wait(gone, deadline, "the ranks of a job that was killed are gone")
            killed |= alive
            if job.launcher.poll() is not None:
                self.assertEqual(job.status(), -signal.SIGKILL, job.said()[-3000:])
                job.wait(lambda: not job.processes(), deadline, "all of a job that was killed is gone")
                job.start()

    def check_end(self, job):
        """It goes on from its last checkpoints to what a fit that is left alone comes to."""
        job.wait_for_a_checkpoint()
        job.launcher.send_signal(signal.SIGUSR1)
        self.assertEqual(job.status(), stopped_status, job.said()[-3000:])
        iterations = job.newest() + 5
        job.start(iterations)
        self.assertEqual(job.status(), 0, job.said()[-3000:])
        job.wait(lambda: not job.processes(), deadline, "all of a job that has ended is gone")

        with open(job.log, "rb") as file:
            said = file.read()
        self.assertNotIn(b"skipping a checkpoint", said)
        resumed = [(match.start(), int(match[1])) for match in re.finditer(rb"resuming after iteration (\d+)", said)]
        for place, iteration in resumed:
            self.assertGreaterEqual(iteration, max((newest for at, newest in job.kills if at <= place), default=0))
        self.assertEqual([name for name in os.listdir(job.checkpoints) if not re.fullmatch(r"checkpoint-\d+\.h5", name)], [])
        alone = job.out + ".alone.h5"
        self.succeed("fit", "gmm", self.data, "-k", components, "--init", "random-from-data", "--tol", 0, "--max-iter",
                     iterations, "--out", alone, "--quiet")
        self.assertEqual(bits_of(job.out), bits_of(alone))

    def test_a_rank(self):
        def shoot(job, moments, ranks_now):
            return job.kill(moments.choice(sorted(ranks_now, key=lambda process: process.number)))

        self.at_random_moments(100, shoot)

    def test_mpirun(self):
        def shoot(job, _, ranks_now):
            parents = {process.parent for process in ranks_now}
            starter = [process for process in job.processes() if process.number in parents and process.name != "tally"]
            return bool(starter) and job.kill(starter[0])

        self.at_random_moments(20, shoot)

    def test_the_launcher(self):
        def shoot(job, _, __):
            return job.kill(Process(job.launcher.pid)) and job.launcher.wait() == -signal.SIGKILL

        self.at_random_moments(20, shoot)


if __name__ == "__main__":
    unittest.main()
