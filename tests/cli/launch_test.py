"""tally launch on this host: what it starts, what it passes on, and what it does when a rank, mpirun or itself dies."""

import ctypes
import errno
import json
import os
import platform
import re
import signal
import socket
import struct
import subprocess
import time
import unittest
import unittest.mock

import numpy as np

from processes import processes_with, ranks_among
from tally_cli import Model, TallyTest, command, data_status, run, source_folder, usage_status


def forbid_system_call(number):
    """From here on this process and its children get EPERM for it, as in a container."""
    load_number, equal, give_back = 0x20, 0x15, 0x06  # of seccomp's programs
    refuse, allow = 0x00050000 | errno.EPERM, 0x7FFF0000
    program = struct.pack("HBBI" * 4, load_number, 0, 0, 0, equal, 0, 1, number, give_back, 0, 0, refuse, give_back, 0, 0, allow)
    instructions = ctypes.create_string_buffer(program, len(program))
    filtered = ctypes.create_string_buffer(struct.pack("HP", 4, ctypes.addressof(instructions)))
    libc = ctypes.CDLL(None, use_errno=True)
    no_new_privileges, seccomp, by_filter = 38, 22, 2  # of prctl
    if libc.prctl(no_new_privileges, 1, 0, 0, 0) != 0 or libc.prctl(seccomp, by_filter, filtered, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "no filter of system calls")


class Launching(TallyTest):
    def setUp(self):
        super().setUp()
        self.data = self.write_data(np.random.default_rng(3).normal(size=(30000, 6)))

    def launch(self, *words, job=()):
        return run("launch", *words, "--", *job)

    def fit_words(self, out, *words):
        return ["fit", "gmm", self.data, "-k", "3", "--init", "random-from-data", "--tol", "0", "--quiet", "--out", out,
                *map(str, words)]

    def start(self, *words, job):
        """A launcher in the background; it and its ranks are ended with the test."""
        process = subprocess.Popen([command, "launch", *words, "--", *job], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (process.poll() is None and process.kill(), process.communicate()))
        return process

    def ranks_of(self, out, count):
        """The ranks of the job that writes `out`, once there are so many."""
        self.wait_until("the ranks started", lambda: len(ranks_among(processes_with(out))) == count)
        return ranks_among(processes_with(out))

    def assert_all_gone(self, word):
        self.wait_until("all of it is gone", lambda: not processes_with(word), 20)

    def script(self, text):
        path = self.path("")
        with open(path, "w", encoding="utf-8") as file:
            file.write("#!/bin/sh\n" + text)
        os.chmod(path, 0o755)
        return path


class LaunchTest(Launching):
    def test_same_bits_as_without(self):
        alone, launched = self.path(), self.path()
        self.succeed(*self.fit_words(alone, "--max-iter", 4))
        process = self.launch("-n", 3, job=self.fit_words(launched, "--max-iter", 4))
        self.assertEqual(process.returncode, 0, process.stderr)
        np.testing.assert_array_equal(Model(alone)["means"], Model(launched)["means"])

    def test_ranks_run_on_their_cores(self):
        cores = sorted(os.sched_getaffinity(0))
        if len(cores) < 2:
            self.skipTest("one core")
        process = self.launch("-n", 2, job=["topology"])
        self.assertEqual(process.returncode, 0, process.stderr)
        # Rank 0 describes what it may run on: its own core.
        self.assertEqual(json.loads(process.stdout)["nodes"][0]["domains"][0]["cores"], str(cores[0]))

    def test_dry_run_prints_the_command_and_the_map(self):
        shown = self.launch("--dry-run", "-n", 2, job=self.fit_words("m.h5"))
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertIn("rank    1", shown.stdout)
        self.assertIn("mpirun -n 2", shown.stdout)
        self.assertIn("TALLY_BINDING=", shown.stdout)
        self.assertNotIn("TALLY_LIFE_LINE", shown.stdout)  # of this launcher, which will be gone
        self.assertFalse(os.path.exists("m.h5"))

    def test_variables_of_the_libraries_are_passed_on(self):
        with unittest.mock.patch.dict(os.environ, {"UCX_TLS": "tcp", "NCCL_DEBUG": "INFO", "CUDA_DEVICE_ORDER": "PCI_BUS_ID", "MINE": "1"}):
            shown = self.launch("--dry-run", "-n", 2, job=["models"])
        self.assertIn(" -x UCX_TLS ", shown.stdout)
        self.assertIn(" -x NCCL_DEBUG ", shown.stdout)
        self.assertIn(" -x CUDA_DEVICE_ORDER ", shown.stdout)
        self.assertNotIn("MINE", shown.stdout)

    def test_a_job_for_other_hosts_is_planned_from_their_description(self):
        cluster = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "data", "clusters",
                               "gpu_nodes.json")
        shown = self.launch("--dry-run", "--cluster", cluster, "--hosts", "gpu0,gpu2:3",
                            job=["fit", "gmm", "x.h5:/x", "-k", "3", "--device", "cuda"])
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertIn(f"-H {','.join(['gpu0'] * 8 + ['gpu2'] * 3)} -n 11 ", shown.stdout)
        self.assertIn("gpu2             cores 16-31            numa 0  gpu 1", shown.stdout)

    def hosts_named(self, name):
        """What reaches other hosts: this one under other names; `name` is made of $1, by which the host is asked for."""
        if os.geteuid() != 0 or subprocess.run(["unshare", "-u", "true"], check=False, capture_output=True).returncode != 0:
            self.skipTest("hosts of other names cannot be made here")
        agent = self.script(f'host={name}\nshift\nexec unshare -u sh -c "hostname $host; $*"\n')
        return unittest.mock.patch.dict(os.environ, OMPI_MCA_plm_rsh_agent=agent, OMPI_MCA_btl="self,vader,tcp")

    def test_hosts_need_not_call_themselves_what_the_user_does(self):
        with self.hosts_named("inner-$1"):
            process = self.launch("--hosts", "alias:1,localhost:1", "-n", 2, job=["preflight", "--threads", 1, "--json"])
        self.assertNotIn("no host", process.stderr)
        self.assertEqual([rank["host"] for rank in json.loads(process.stdout)["ranks"]], ["inner-alias", socket.gethostname()])

    def test_the_example_of_several_hosts(self):
        hosts, out, folder = self.path(""), self.path(), self.path("")
        with open(hosts, "w", encoding="utf-8") as file:
            file.write("# hosts\n  one slots=1  # indented\nlocalhost slots = 1\n")
        line = [os.path.join(source_folder, "examples", "multi_node", "fit.sh"), hosts,
                *self.fit_words(out, "--max-iter", 2, "--checkpoint", folder)[1:]]
        path = f"{os.path.dirname(os.path.abspath(command))}:{os.environ['PATH']}"
        start = lambda: subprocess.run(line, capture_output=True, text=True, timeout=100, check=False)
        with self.hosts_named("$1"), unittest.mock.patch.dict(os.environ, PATH=path):
            fitted = start()
        self.assertEqual(fitted.returncode, 0, fitted.stderr)
        self.assertIn("rank    0  one ", fitted.stdout)
        self.assertTrue(os.path.exists(out))
        agent = self.script('[ "$1" != one ] || exec echo tally 0.0\nshift\nexec "$@"\n')
        with unittest.mock.patch.dict(os.environ, OMPI_MCA_plm_rsh_agent=agent, PATH=path):
            refused = start()
        self.assertEqual(refused.returncode, 1, refused.stderr)
        self.assertIn("fit.sh: one has tally 0.0; here is tally ", refused.stderr)

    def test_a_host_that_calls_itself_by_the_name_of_another(self):
        with self.hosts_named("$([ $1 = one ] && echo two || echo one)"):
            process = self.launch("--hosts", "one,two", job=["models"])
        self.assertEqual(process.returncode, data_status, process.stderr)
        self.assertIn("host one calls itself two, which is another of the hosts", process.stderr)

    def test_an_mpirun_of_another_mpi_is_refused(self):
        hydra = self.script('echo HYDRA build details:; echo "    Version: 4.0.2"\n')
        self.refuse("launch", "--mpirun", hydra, "--", "models", status=usage_status,
                    says=f"{hydra} is the wrong one: it is of MPICH 4.0.2, and this Tally was built with Open MPI")
        later = self.script('[ "$1" != --version ] || exec echo "mpirun (Open MPI) 99.0"\nexec mpirun "$@"\n')
        process = self.launch("--mpirun", later, "-n", 2, job=["models"])
        self.assertEqual(process.returncode, 0, process.stderr)
        self.assertIn(f"warning: {later} may be the wrong one: it is of Open MPI 99.0, and the ranks load Open MPI", process.stderr)

    def test_ranks_that_do_not_find_each_other_are_refused(self):
        """As those of another MPI's mpirun: each is alone in its world."""
        for rank, messages in (0, 1), (1, 0):
            with self.subTest(rank=rank):
                environment = {**os.environ, "PMI_RANK": str(rank), "PMI_SIZE": "3"}
                process = subprocess.run([command, *self.fit_words(self.path())], capture_output=True, text=True, timeout=60,
                                         check=False, env=environment)
                self.assertEqual(process.returncode, usage_status, process.stderr)
                self.assertEqual(process.stderr.count("tally: error: 3 ranks were started, and each finds itself alone: this "
                                                      "Tally was built with Open MPI"), messages, process.stderr)

    def test_an_srun_without_pmix_is_refused(self):
        srun = self.path("")
        os.mkdir(srun)
        os.rename(self.script('echo "MPI plugin types are..."; echo none; echo pmi2\n'), os.path.join(srun, "srun"))
        with unittest.mock.patch.dict(os.environ, SLURM_JOB_NODELIST="n[0-1]", PATH=f"{srun}:{os.environ['PATH']}"):
            self.refuse("launch", "--", "models", status=usage_status, says="no ranks of MPI by pmix here, only by none, pmi2: --mpirun")

    def test_looks_take_the_settings_of_the_user(self):
        log = self.path(".log")
        mpirun = self.script('[ "$1" != --version ] || exec echo "mpirun (Open MPI) 4.1.4"\n'
                             f'echo "$OMPI_MCA_oob_tcp_keepalive_time $OMPI_MCA_oob_tcp_keepalive_intvl $*" >>{log}\nexit 1\n')
        core = str(min(os.sched_getaffinity(0)))
        with unittest.mock.patch.dict(os.environ, OMPI_MCA_oob_tcp_keepalive_time="77", TALLY_BINDING=core):
            process = self.launch("--mpirun", mpirun, "--hosts", "one,two", "--verbose", job=["models"])
            shown = self.launch("--dry-run", "-n", 1, job=["models"])
        with open(log, encoding="utf-8") as file:
            said = file.read()
        self.assertTrue(said.startswith("77 5 -H one,two "), said)
        self.assertEqual(said.count("-x TALLY_BINDING "), 1)
        self.assertEqual(shown.stdout.count("-x TALLY_BINDING "), 1)
        self.assertIn("OMPI_MCA_oob_tcp_keepalive_intvl=5\n", process.stderr)
        self.assertNotIn("OMPI_MCA_oob_tcp_keepalive_time=", process.stderr)
        self.assertRegex(process.stderr, f"{mpirun} -H one,two .* topology\n")

    def test_ranks_run_where_the_map_says(self):
        """Also where the host that mpirun runs on is not the first: Open MPI would put its ranks first."""
        cores = sorted(os.sched_getaffinity(0))[:2]
        if len(cores) < 2:
            self.skipTest("one core")
        here = socket.gethostname()
        cluster = self.path(".json")
        domain = {"cores": ",".join(map(str, cores)), "memory_bytes": 1 << 30}
        with open(cluster, "w", encoding="utf-8") as file:
            json.dump({"nodes": [{"name": name, "domains": [domain]} for name in ("other", here)]}, file)
        words = ["--cluster", cluster, "--hosts", f"other:1,{here}:2", "-n", 3]
        with self.hosts_named("$1"):
            shown = self.launch("--dry-run", *words, job=["preflight", "--threads", 1, "--json"])
            process = self.launch(*words, job=["preflight", "--threads", 1, "--json"])
        planned = re.findall(r"rank +(\d+)  (\S+) +cores (\S+)", shown.stdout)
        ran = [(str(rank["rank"]), rank["host"], rank["cores"]) for rank in json.loads(process.stdout)["ranks"]]
        self.assertEqual([host for _, host, _ in ran], ["other", here, here], process.stderr)
        self.assertEqual(planned, ran)

    def test_ranks_that_cannot_choose_their_memory_say_so(self):
        number = {"x86_64": 238, "aarch64": 237}.get(platform.machine())
        if number is None or len(os.sched_getaffinity(0)) < 2:
            self.skipTest("the number of set_mempolicy is not known here, or one core")
        for words, times in (("--verbose",), 2), ((), 0):
            process = subprocess.run([command, "launch", *words, "-n", "2", "--", "models"], capture_output=True, text=True,
                                     timeout=60, check=False, preexec_fn=lambda: forbid_system_call(number))
            self.assertEqual(process.returncode, 0, process.stderr)
            self.assertEqual(process.stderr.count(": its memory may lie anywhere: the system does not bind it (Operation not perm"),
                             times, process.stderr)

    def test_statuses_and_errors_of_the_ranks_come_through(self):
        out = self.path()
        process = self.launch("-n", 2, job=["fit", "gmm", "none.h5:/x", "-k", "3", "--out", out])
        self.assertEqual(process.returncode, data_status)
        self.assertEqual(process.stderr.count("none.h5 does not exist"), 1, process.stderr)

    def test_refusals(self):
        refuse = lambda *words, says: self.refuse("launch", *words, status=usage_status, says=says)
        refuse("-n", 2, says="the command that the ranks run, after --")
        refuse("-n", 2, "fit", "gmm", self.data, "-k", 3, says="put -- before the command: tally launch -n 2 -- fit ...; see")
        refuse("-n", 2, "models", says="put -- before the command: tally launch -n 2 -- models ...; see")
        refuse("-n", 2, "nothing", says="error: not expected: nothing; see tally launch --help")
        refuse("-n", 2, "--threads", 4, "--", "models", says="error: not expected: --threads 4; see tally launch --help")
        refuse("-n", 2_000_000, "--", "models", says="2000000 ranks were asked for, and 1048576 are the most")
        refuse("--ranks-per-node", 2_000_000, "--", "models", says="2000000 ranks were asked for, and 1048576 are the most")
        refuse("--hosts", "", "--", "models", says="--hosts: is empty; see tally launch --help")
        self.refuse("launch", "--hostfile", self.folder, "--", "models", status=data_status, says=f"{self.folder} cannot be read")
        refuse("--hosts", "a,a", "--", "models", says="named twice")
        refuse("--hosts", "a", "--hostfile", "f", "--", "models", says="--hosts contradicts --hostfile")
        refuse("--max-restarts", 1, "--", "fit", "gmm", self.data, says="needs a command with --checkpoint")
        refuse("--mpirun", "/nowhere/mpirun", "--", "models", says="/nowhere/mpirun cannot be started")
        refuse("--mpirun", "true", "--", "models", says="neither Open MPI's nor MPICH's")
        self.refuse("launch", "-n", 2, "--", "models", ranks=2, status=usage_status, says="launch starts the ranks itself")

    def test_no_terminal_no_home_no_input(self):
        without_home = {name: value for name, value in os.environ.items() if name != "HOME"}
        surroundings = {"no input": {"stdin": subprocess.DEVNULL}, "no terminal": {"start_new_session": True},
                        "no home": {"env": without_home},
                        "a home that cannot be written": {"env": {**without_home, "HOME": "/proc/1"}}}
        for name, surrounding in surroundings.items():
            with self.subTest(name):
                out = self.path()
                process = subprocess.run([command, "launch", "-n", "2", "--", *self.fit_words(out, "--max-iter", 1)],
                                         capture_output=True, text=True, timeout=60, check=False, **surrounding)
                self.assertEqual(process.returncode, 0, process.stderr)
                self.assertTrue(os.path.exists(out))

    def test_a_missing_mpirun_is_said(self):
        without = {**os.environ, "PATH": self.folder}
        process = subprocess.run([os.path.abspath(command), "launch", "--", "models"], capture_output=True, text=True,
                                 timeout=60, check=False, env=without)
        self.assertEqual(process.returncode, usage_status, process.stderr)
        self.assertIn("mpirun cannot be started: No such file or directory; is MPI's folder in PATH? --mpirun names another",
                      process.stderr)

    def test_a_killed_rank_is_restarted_with_the_same_bits(self):
        undisturbed, out, folder = self.path(), self.path(), self.path("")
        self.succeed(*self.fit_words(undisturbed, "--max-iter", 300))
        job = self.fit_words(out, "--max-iter", 300, "--checkpoint", folder, "--every", 1)
        process = self.start("-n", "2", "--max-restarts", "2", job=job)
        ranks = self.ranks_of(out, 2)
        self.wait_for_checkpoints(folder, 2)
        os.kill(ranks[1], signal.SIGKILL)
        _, errors = process.communicate(timeout=100)
        self.assertEqual(process.returncode, 0, errors)
        self.assertIn("restart 1 of 2", errors)
        np.testing.assert_array_equal(Model(undisturbed)["means"], Model(out)["means"])
        self.assert_all_gone(out)

    def test_a_job_that_stands_still_is_killed(self):
        out = self.path()
        process = self.start("-n", "2", "--silence", "2", job=self.fit_words(out, "--max-iter", 1000000))
        ranks = self.ranks_of(out, 2)
        time.sleep(3)  # until rank 0 has given a first sign of life
        for rank in ranks:
            os.kill(rank, signal.SIGSTOP)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 5, errors)
        self.assertIn("rank 0 gave no sign of life for 2 s", errors)
        self.assert_all_gone(out)

    def test_ranks_that_cannot_reach_the_launcher_end_at_once(self):
        with unittest.mock.patch.dict(os.environ, TALLY_LIFE_LINE="127.0.0.1:1:90:token"):
            self.refuse("models", status=5, says="rank 0 cannot reach the launcher at 127.0.0.1, which would take the job for dead")

    def test_nothing_is_left_of_a_launcher_that_is_killed(self):
        out = self.path()
        process = self.start("-n", "2", job=self.fit_words(out, "--max-iter", 1000000))
        self.ranks_of(out, 2)
        process.kill()
        process.communicate(timeout=60)
        self.assert_all_gone(out)

    def test_an_interrupt_ends_all_and_saves(self):
        out = self.path()
        process = self.start("-n", "2", job=self.fit_words(out, "--max-iter", 1000000))
        self.ranks_of(out, 2)
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
        self.assertNotEqual(process.returncode, 0)
        self.assertIn("wrote the last completed parameters", errors)
        self.assert_all_gone(out)

    def test_sigusr1_stops_with_a_checkpoint(self):
        out, folder = self.path(), self.path("")
        process = self.start("-n", "2", "--max-restarts", "1",
                             job=self.fit_words(out, "--max-iter", 1000000, "--checkpoint", folder))
        self.ranks_of(out, 2)
        time.sleep(1)
        process.send_signal(signal.SIGUSR1)
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 6, errors)
        self.assertTrue(os.listdir(folder))


if __name__ == "__main__":
    unittest.main()
