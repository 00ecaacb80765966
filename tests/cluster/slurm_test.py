"""tally under Slurm: on nodes of an allocation by `tally launch` and by srun, with ranks that die, preempted and requeued.

The nodes are daemons on this machine (slurm.sh): one hostname, no control groups; each has an address of its own."""

import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

import numpy as np

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(here), "cli"))

from processes import mpirun_environment, processes_with, ranks_among  # noqa: E402
from tally_cli import Model, TallyTest, command, source_folder  # noqa: E402

slurm_script = os.path.join(here, "slurm.sh")
batch_script = os.path.join(source_folder, "examples", "slurm", "cpu.sbatch")
node_count = 3


def why_no_slurm():
    if os.geteuid() != 0:
        return "node daemons need root"
    missing = [name for name in ("slurmctld", "slurmd", "srun", "sbatch", "salloc", "mpirun", "ip") if not shutil.which(name)]
    return f"not installed: {', '.join(missing)}" if missing else ""


def setUpModule():
    if why_no_slurm():
        raise unittest.SkipTest("no Slurm: " + why_no_slurm())
    new_network = 0x40000000  # CLONE_NEWNET
    if ctypes.CDLL(None).unshare(new_network) != 0:
        raise unittest.SkipTest("no name space with a network of its own can be made here")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, timeout=10)
    for node in range(node_count):
        subprocess.run(["ip", "address", "add", f"10.78.0.{node + 1}/32", "dev", "lo"], check=True, timeout=10)


class SlurmTest(TallyTest):
    @classmethod
    def setUpClass(cls):
        cls.slurm = tempfile.mkdtemp(prefix="tally-slurm-")
        cls.addClassCleanup(subprocess.run, [slurm_script, "down", cls.slurm], check=False, timeout=60)
        subprocess.run([slurm_script, "up", cls.slurm, str(node_count), "4"], check=True, timeout=60)
        cls.environment = mpirun_environment()
        cls.environment.update(SLURM_CONF=os.path.join(cls.slurm, "slurm.conf"),
                               PATH=os.path.dirname(os.path.abspath(command)) + os.pathsep + os.environ["PATH"])

    def setUp(self):
        super().setUp()
        self.data = self.write_data(np.random.default_rng(3).normal(size=(30000, 6)))
        self.addCleanup(self.cancel_all)

    def fit_words(self, out, *words):
        return ["fit", "gmm", self.data, "-k", "3", "--init", "random-from-data", "--tol", "0", "--quiet", "--out", out,
                *map(str, words)]

    def slurm_run(self, *line, status=0):
        """What a command of Slurm's printed."""
        with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
            try:
                ended = subprocess.run([str(word) for word in line], env=self.environment, cwd=self.folder, stdout=said,
                                       stderr=said, stdin=subprocess.DEVNULL, timeout=60, check=False).returncode
            except subprocess.TimeoutExpired:
                ended = None
            said.seek(0)
            text = said.read()
        self.assertEqual(ended, status, text)
        return text

    def cancel_all(self):
        self.slurm_run("scancel", "--user=root")
        self.slurm_run("scancel", "--user=root", "--signal=KILL", "--full")
        self.wait_until("the queue is empty", lambda: not self.slurm_run("squeue", "--noheader"))

    def processes(self, out, name):
        """The processes of this program that have `out` in their command line."""
        return [process for process in processes_with(out) if process.name.startswith(name)]

    def ranks_of(self, out):
        """The ranks of the fit that writes `out`, in their order."""
        return ranks_among(processes_with(out))

    def launcher_of(self, out):
        return next(process.number for process in self.processes(out, "tally") if "launch" in process.words)

    def start_in_allocation(self, out, *words, job=(), before=(), nodes=2):
        """`tally launch` in the background, once a rank runs on each node; `before`: words of the job before its command."""
        process = subprocess.Popen(["salloc", "--quiet", f"--nodes={nodes}", "--exclusive", "--no-kill", command, "launch", *words,
                                    "--", *map(str, before), *self.fit_words(out, *job)],
                                   env=self.environment, cwd=self.folder, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        self.addCleanup(lambda: (process.poll() is None and process.kill(), process.communicate()))
        self.wait_until(f"{nodes} ranks", lambda: len(self.ranks_of(out)) == nodes)
        return process

    def assert_all_gone(self, out):
        self.wait_until("its ranks are gone", lambda: not self.processes(out, ""), 30)

    def assert_same_bits(self, first, second):
        one, two = Model(first), Model(second)
        for name, values in one.parameters.items():
            np.testing.assert_array_equal(values, two[name], name)
        np.testing.assert_array_equal(one.trace, two.trace)

    def test_same_bits_in_allocations_of_all_sizes(self):
        alone = self.path()
        self.succeed(*self.fit_words(alone, "--max-iter", 4))
        for nodes, words in [(1, ["-n", 2]), (2, []), (3, ["--ranks-per-node", 2]), (3, ["-n", 7]), (3, ["--hosts", "n2,n0"])]:
            out = self.path()
            self.slurm_run("salloc", "--quiet", "--nodes", nodes, "--exclusive", command, "launch", *words, "--",
                           *self.fit_words(out, "--max-iter", 4))
            self.assert_same_bits(alone, out)

    def test_an_uneven_map_where_the_allocation_has_tasks_per_node(self):
        said = self.slurm_run("salloc", "--quiet", "--nodes=3", "--ntasks-per-node=2", "--exclusive", command, "launch", "-n", 5,
                              "--", "models")
        self.assertNotIn("--ntasks-per-node", said)

    def test_same_bits_by_srun(self):
        alone, out = self.path(), self.path()
        self.succeed(*self.fit_words(alone, "--max-iter", 4))
        self.slurm_run("srun", "--mpi=pmix", "--kill-on-bad-exit=1", "--nodes=3", "--ntasks=4", "--overcommit", command,
                       *self.fit_words(out, "--max-iter", 4))
        self.assert_same_bits(alone, out)

    def test_a_job_script_without_an_environment(self):
        out, log = self.path(), self.path(".log")
        launch = [command, "launch", "-n", "3", "--verbose", "--", *self.fit_words(out, "--max-iter", 2)]
        settings = [f"export {name}='{self.environment[name]}'" for name in self.environment if name.startswith(("OMPI", "PMIX"))]
        self.slurm_run("sbatch", "--wait", "--export=NONE", "--nodes=3", "--exclusive", "--output", log, "--wrap",
                       "\n".join([*settings, " ".join(launch)]))
        with open(log, encoding="utf-8") as file:
            text = file.read()
        self.assertIn("TALLY_BINDING=", text)
        self.assertEqual(Model(out).training["iterations"], 2)

    def test_tasks_without_mpi_are_refused(self):
        out = self.path()
        tasks = ["srun", "--mpi=none", "--nodes=2", "--ntasks=2", command]
        refused = self.slurm_run(*tasks, *self.fit_words(out), status=2)
        self.assertEqual(refused.count("srun started 2 tasks without MPI"), 1, refused)
        self.assertIn("launch starts the ranks itself", self.slurm_run(*tasks, "launch", "--", "models", status=2))
        self.assertFalse(os.path.exists(out))

    def test_launched_from_within_a_step(self):
        self.slurm_run("salloc", "--quiet", "--nodes=2", "srun", "--mpi=none", "--nodes=1", "--ntasks=1", command, "launch",
                       "--", "models")

    def test_a_killed_rank_is_restarted_with_the_same_bits(self):
        undisturbed, out, folder = self.path(), self.path(), self.path("")
        self.succeed(*self.fit_words(undisturbed, "--max-iter", 300))
        process = self.start_in_allocation(out, "--max-restarts", "2",
                                           job=["--max-iter", 300, "--checkpoint", folder, "--every", 1])
        self.wait_for_checkpoints(folder, 2)
        os.kill(self.ranks_of(out)[1], signal.SIGKILL)
        _, errors = process.communicate(timeout=100)
        self.assertEqual(process.returncode, 0, errors)
        self.assertIn("restart 1 of 2", errors)
        self.assert_same_bits(undisturbed, out)
        self.assert_all_gone(out)

    def test_a_lost_node_is_done_without(self):
        """Its daemon is gone with the ranks there; the allocation outlives it (--no-kill)."""
        undisturbed, out, folder = self.path(), self.path(), self.path("")
        self.succeed(*self.fit_words(undisturbed, "--max-iter", 1000))
        process = self.start_in_allocation(out, "--max-restarts", "1", nodes=3, before=["--timeout", 5],
                                           job=["--max-iter", 1000, "--checkpoint", folder, "--every", 20])
        self.wait_for_checkpoints(folder, 2)
        self.addCleanup(self.start_daemon, "n1")
        subprocess.run([slurm_script, "lose", self.slurm, "n1"], check=True, timeout=60)
        _, errors = process.communicate(timeout=300)
        self.assertRegex(errors, "host n1 (is gone|did not answer)")
        self.assertEqual(process.returncode, 0, errors)
        self.assertIn("restart 1 of 1", errors)
        self.assert_same_bits(undisturbed, out)
        self.assert_all_gone(out)

    def start_daemon(self, node):
        subprocess.run(["slurmd", "-N", node], env=self.environment, check=True, timeout=30, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        self.wait_until(f"{node} is back", lambda: self.slurm_run("sinfo", "--noheader", "--nodes", node, "--partition=main",
                                                                  "--format=%T").strip() == "idle")

    def test_nothing_is_left_of_a_launcher_that_is_killed(self):
        out = self.path()
        process = self.start_in_allocation(out)
        os.kill(self.launcher_of(out), signal.SIGKILL)
        process.communicate(timeout=60)
        self.assert_all_gone(out)

    def test_nothing_is_left_where_srun_is_killed(self):
        out = self.path()
        process = self.start_in_allocation(out)
        for srun in self.processes(out, "srun"):
            os.kill(srun.number, signal.SIGKILL)
        process.communicate(timeout=60)
        self.assertNotEqual(process.returncode, 0)
        self.assert_all_gone(out)

    def test_preempted_and_requeued_with_the_same_bits(self):
        undisturbed, out, folder, log = self.path(), self.path(), self.path(""), self.path(".log")
        self.succeed(*self.fit_words(undisturbed, "--max-iter", 1500))
        words = self.fit_words(out, "--max-iter", 1500, "--checkpoint", folder, "--every", 100)[1:]
        job = self.slurm_run("sbatch", "--parsable", "--nodes=3", "--output", log, batch_script, *words).strip()
        self.wait_for_checkpoints(folder)
        self.slurm_run("scancel", "--batch", "--signal=USR1", job)  # a second one follows
        self.slurm_run("sbatch", "--partition=urgent", "--nodes=3", "--exclusive", "--wrap", "true")
        self.wait_until("it waits to start again", lambda: " PENDING " in self.slurm_run(
            "squeue", "--noheader", "--jobs", job, "--format", " %T "))
        self.wait_until("the first try has ended", lambda: not self.processes(f"slurmstepd: [{job}.", "slurmstepd"))
        self.assertLess(len(Model(out).trace), 1500)
        # Not at once: for the rest of a second a node takes the new job for the old one, which it was told to end.
        self.slurm_run("scontrol", "update", f"JobId={job}", "StartTime=now+2")
        self.wait_until("it is done", lambda: not self.slurm_run("squeue", "--noheader", "--jobs", job, "--states=PD,R,CG"), 180)
        with open(log, encoding="utf-8") as file:
            text = file.read()
        self.assertIn("Restarts=1", self.slurm_run("scontrol", "show", "job", job), text)
        self.assertIn("JobState=COMPLETED", self.slurm_run("scontrol", "show", "job", job), text)
        self.assert_same_bits(undisturbed, out)
        self.assert_all_gone(out)


if __name__ == "__main__":
    unittest.main()
