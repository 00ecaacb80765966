"""tally launch on several hosts of which one is cut off, or the one that it runs on itself: within a deadline the job goes on
without the host or has ended, no process is left on either side of the cut, and the fit comes to the bits of one left alone.

The hosts are name spaces on this machine (hosts.sh); they share its disk, and each sees its own processes alone."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
import uuid

import numpy as np

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(here), "cli"))

from processes import mpirun_environment, processes_marked, ranks_among  # noqa: E402
from tally_cli import TallyTest, bits_of, command, newest_checkpoint  # noqa: E402

hosts_script = os.path.join(here, "hosts.sh")
host_count = 3
endless = 10**9  # iterations
# Seconds without a sign of life: of a rank to the others, of rank 0 to the launcher, of one of Open MPI's daemons.
timeout, silence, keepalive = 20, 10, {"time": 2, "intvl": 1, "probes": 2}
deadline = 150  # seconds until a job has noticed, ended and started again; thirty on an idle machine
communication_status, stopped_status = 5, 6


def setUpModule():
    if os.geteuid() != 0:
        raise unittest.SkipTest("hosts are made of name spaces, which needs root")
    missing = [name for name in ("ip", "unshare", "nsenter", "mpirun") if not shutil.which(name)]
    if missing:
        raise unittest.SkipTest(f"not installed: {', '.join(missing)}")
    if subprocess.run(["unshare", "-n", "true"], capture_output=True, timeout=60, check=False).returncode != 0:
        raise unittest.SkipTest("no name spaces with networks of their own can be made here")


class HostsTest(TallyTest):
    @classmethod
    def setUpClass(cls):
        cls.hosts = tempfile.mkdtemp(prefix="tally-hosts-")
        cls.addClassCleanup(shutil.rmtree, cls.hosts, ignore_errors=True)
        cls.addClassCleanup(subprocess.run, [hosts_script, "down", cls.hosts], check=False, timeout=60)
        subprocess.run([hosts_script, "up", cls.hosts, str(host_count)], timeout=60, check=True)

    def setUp(self):
        super().setUp()
        generator = np.random.default_rng(8)
        x = generator.normal(size=(30000, 3)) + generator.integers(0, 3, 30000)[:, None]
        self.data = self.write_data(x)
        self.out, self.checkpoints = self.path(), self.path("")
        self.mark = uuid.uuid4().hex
        self.log = self.path(".log")
        self.environment = mpirun_environment()
        self.environment.update(TALLY_TEST_MARK=self.mark, TMPDIR=self.folder,
                                OMPI_MCA_plm_rsh_agent=os.path.join(self.hosts, "rsh"), OMPI_MCA_plm_rsh_no_tree_spawn="1",
                                PRTE_MCA_plm_ssh_agent=os.path.join(self.hosts, "rsh"),
                                **{f"OMPI_MCA_oob_tcp_keepalive_{name}": str(value) for name, value in keepalive.items()})
        self.addCleanup(self.end_all)

    def end_all(self):
        for process in self.processes():
            try:
                os.kill(process.number, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def control(self, what, host):
        subprocess.run([hosts_script, what, self.hosts, host], check=True, timeout=60)

    def cut(self, host):
        self.control("cut", host)
        self.addCleanup(lambda: os.path.exists(os.path.join(self.hosts, host, "cut")) and self.control("join", host))

    def fit_words(self, out, max_iter):
        return ["fit", "gmm", self.data, "-k", "3", "--init", "random-from-data", "--tol", "0", "--threads", "1", "--out", out,
                "--max-iter", str(max_iter)]

    def start(self, *words, max_iter=endless, resume=False):
        line = [hosts_script, "exec", self.hosts, "login", command, "launch", "--hosts", "h0:1,h1:1,h2:1", "-n", "3",
                "--silence", str(silence), *words, "--", "--timeout", str(timeout), *self.fit_words(self.out, max_iter),
                "--checkpoint", self.checkpoints, *(["--resume"] if resume else [])]
        with open(self.log, "a", encoding="utf-8") as log:
            job = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=log, env=self.environment)
        self.addCleanup(lambda: (job.poll() is None and job.kill(), job.wait()))
        return job

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def wait(self, condition, what):
        self.wait_until(what, condition, deadline, lambda: self.said()[-3000:])

    def newest(self):
        return newest_checkpoint(self.checkpoints)

    def wait_for_a_checkpoint(self, after=None):
        before = self.newest() if after is None else after
        self.wait(lambda: self.newest() > before, "a checkpoint is written")

    def processes(self, host=None):
        """Of the job; on this host alone."""
        return [process for process in processes_marked(self.mark) if host is None or self.is_on(process, host)]

    def is_on(self, process, host):
        try:
            return os.readlink(f"/proc/{process.number}/ns/net") == os.readlink(self.network_of(host))
        except OSError:
            return False

    def ranks(self, host):
        return ranks_among(self.processes(host))

    def network_of(self, host):
        with open(os.path.join(self.hosts, host, "pid"), encoding="utf-8") as file:
            return f"/proc/{file.read().strip()}/ns/net"

    def check_end(self, job=None):
        """It comes to what a fit that is left alone comes to."""
        if job:
            job.send_signal(signal.SIGUSR1)
            self.assertEqual(job.wait(timeout=deadline), stopped_status, self.said()[-3000:])
        iterations, alone = self.newest() + 5, self.path()
        self.succeed(*self.fit_words(self.out, iterations), "--checkpoint", self.checkpoints, "--resume", "--quiet")
        self.succeed(*self.fit_words(alone, iterations), "--quiet")
        self.assertEqual(bits_of(self.out), bits_of(alone))
        self.assertNotIn("skipping a checkpoint", self.said())

    def check_a_lost_host(self, host):
        job = self.start("--max-restarts", "1")
        self.wait_for_a_checkpoint()
        before = self.newest()
        self.cut(host)

        self.wait(lambda: f"host {host} is gone" in self.said(), "the loss is noticed")
        self.wait(lambda: not self.ranks(host), "the ranks on the host that is cut off end")
        self.wait(lambda: "resuming after iteration" in self.said(), "the job goes on")
        self.assertEqual(len(self.ranks("h1")), 1)
        self.assertGreaterEqual(int(re.search(r"resuming after iteration (\d+)", self.said())[1]), before)
        self.wait_for_a_checkpoint()
        self.check_end(job)
        self.join_again(host)

    def join_again(self, host):
        """Open MPI's daemon of rank 0, which had words to deliver, waits for the network as long as TCP does."""
        self.control("join", host)
        self.wait(lambda: not self.processes(), "nothing is left of the job")

    def test_ranks_on_three_hosts_are_as_one(self):
        job = self.start(max_iter=40)

        self.assertEqual(job.wait(timeout=deadline), 0, self.said())
        self.check_end()

    def test_a_host_that_is_cut_off_is_done_without(self):
        self.check_a_lost_host("h2")

    def test_so_is_the_one_of_rank_0_which_holds_the_lock(self):
        self.check_a_lost_host("h0")

    def test_a_killed_rank_of_another_host_is_started_again(self):
        job = self.start("--max-restarts", "1")
        self.wait_for_a_checkpoint()
        ranks = self.ranks("h1")
        self.assertEqual(len(ranks), 1)
        os.kill(ranks[0], signal.SIGKILL)

        self.wait(lambda: "resuming after iteration" in self.said(), "the job goes on")
        self.assertNotIn("is gone", self.said())
        self.wait_for_a_checkpoint()
        self.check_end(job)

    def test_when_the_launchers_own_host_is_cut_off_both_sides_end(self):
        job = self.start()
        self.wait_for_a_checkpoint()
        self.cut("login")

        self.assertEqual(job.wait(timeout=deadline), communication_status, self.said()[-3000:])
        self.assertEqual(self.processes("login"), [])
        for host in ("h0", "h1", "h2"):
            self.wait(lambda host=host: not self.ranks(host), f"the ranks on {host} end")
        self.check_end()
        self.join_again("login")

    def test_rank_0_ends_also_where_open_mpis_daemon_does_not_notice(self):
        """It cannot reach the launcher, which has given it up."""
        job = self.start()
        self.wait_for_a_checkpoint()
        for process in self.processes("h0"):
            if process.rank is None:
                os.kill(process.number, signal.SIGSTOP)
        self.cut("login")

        for host in ("h0", "h1", "h2"):
            self.wait(lambda host=host: not self.ranks(host), f"the ranks on {host} end")
        self.assertEqual(job.wait(timeout=deadline), communication_status, self.said()[-3000:])
        self.end_all()
        self.check_end()

    def test_nothing_is_left_when_the_launcher_is_killed(self):
        job = self.start()
        self.wait_for_a_checkpoint()
        job.kill()

        self.wait(lambda: not self.processes(), "nothing is left of a launcher that was killed")
        self.check_end()


if __name__ == "__main__":
    unittest.main()
