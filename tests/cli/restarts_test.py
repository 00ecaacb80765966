"""What tally launch does from one attempt to the next, with an mpirun that fails when it is told to."""

import fcntl
import os
import shutil
import signal
import subprocess
import time
import unittest

import numpy as np

from tally_cli import TallyTest, command, run, usage_status

patience = 60  # seconds for what takes a few on an idle machine


class Restarts(TallyTest):
    def setUp(self):
        super().setUp()
        self.data = self.write_data(np.random.default_rng(3).normal(size=(2000, 3)))
        self.out = self.path()
        self.checkpoints = self.path("")
        self.runs = os.path.join(self.folder, "runs")

    def mpirun(self, *attempts):
        """An mpirun whose attempts are these lines of a shell, the last of them again and again; "$@" is the command."""
        path = os.path.join(self.folder, "mpirun")
        cases = "".join(f"{number}) {attempt} ;;\n" for number, attempt in enumerate(attempts[:-1], 1))
        with open(path, "w", encoding="utf-8") as file:
            file.write(f"""#!/bin/sh
if [ "$1" = --version ]; then echo "mpirun (Open MPI) 4.1.4"; exit; fi
while [ "${{1##*/}}" != tally ] && [ "${{1##*/}}" != "tally (deleted)" ]; do shift; done
echo "$*" >> {self.runs}
case $(wc -l < {self.runs}) in
{cases}*) {attempts[-1]} ;;
esac
""")
        os.chmod(path, 0o755)
        return path

    def fit_words(self, *words, max_iter=3):
        return ["fit", "gmm", self.data, "-k", "2", "--init", "random-from-data", "--tol", "0", "--threads", "1",
                "--max-iter", str(max_iter), "--out", self.out, "--checkpoint", self.checkpoints, *words]

    def launch_words(self, mpirun, *words, restarts=1, max_iter=3):
        return ["launch", "-n", "1", "--mpirun", mpirun, "--max-restarts", str(restarts), "--",
                *self.fit_words(*words, max_iter=max_iter)]

    def start(self, *words, program=command):
        launcher = subprocess.Popen([program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (launcher.poll() is None and launcher.kill(), launcher.communicate()))
        return launcher

    def attempts(self):
        """The command of each attempt so far."""
        if not os.path.exists(self.runs):
            return []
        with open(self.runs, encoding="utf-8") as file:
            return file.read().splitlines()

    def wait_for_attempt(self, number):
        deadline = time.monotonic() + patience
        while len(self.attempts()) < number:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def test_an_attempt_that_dies_at_once_adopts_no_earlier_fit(self):
        self.succeed(*self.fit_words())
        os.remove(self.out)
        launch = self.launch_words(self.mpirun("exit 1", '"$@"'), max_iter=5)

        self.refuse(*launch, status=usage_status, says=f"{self.checkpoints} holds checkpoints of an earlier fit; go on")

        self.assertEqual(self.attempts(), [])
        self.assertIn("resuming after", self.succeed(*launch, "--resume").stderr)

    def test_a_program_that_is_installed_anew_is_started_again(self):
        installed = os.path.join(self.folder, "tally")
        shutil.copy(command, installed)
        launcher = self.start(*self.launch_words(self.mpirun(f"cp {installed} new; rm {installed}; mv new {installed}; exit 1",
                                                             '"$@"')), program=installed)
        _, errors = launcher.communicate(timeout=patience)

        self.assertEqual(launcher.returncode, 0, errors)
        self.assertEqual([line.split(" fit ")[0] for line in self.attempts()], [installed, installed])


    def test_a_folder_that_is_in_use_for_a_while(self):
        os.mkdir(self.checkpoints)
        with open(os.path.join(self.checkpoints, "lock"), "w", encoding="utf-8") as lock:
            fcntl.lockf(lock, fcntl.LOCK_EX)
            launcher = self.start(*self.launch_words(self.mpirun('"$@"')))
            self.wait_for_attempt(2)
        _, errors = launcher.communicate(timeout=patience)

        self.assertEqual(launcher.returncode, 0, errors)
        self.assertIn(f"{self.checkpoints} is in use by another job", errors)

    def test_none_after_a_stop_was_requested(self):
        launcher = self.start(*self.launch_words(self.mpirun("sleep 1; exit 7")))
        self.wait_for_attempt(1)
        launcher.send_signal(signal.SIGUSR1)
        _, errors = launcher.communicate(timeout=patience)

        self.assertEqual(launcher.returncode, 7, errors)
        self.assertEqual(len(self.attempts()), 1)

    def test_none_where_the_job_ended_well_and_mpirun_did_not(self):
        launched = self.succeed(*self.launch_words(self.mpirun('"$@"; exec sleep 1000')))

        self.assertIn("it did not end within 15 s after the job had", launched.stderr)
        self.assertTrue(os.path.exists(self.out))
        self.assertEqual(len(self.attempts()), 1)

    def test_signals_that_are_ignored_end_nothing(self):
        launch = self.launch_words(self.mpirun('sleep 1; "$@"'))
        launcher = self.start("-c", "trap '' HUP INT; exec \"$@\"", "sh", command, *launch, program="sh")
        self.wait_for_attempt(1)
        launcher.send_signal(signal.SIGHUP)
        launcher.send_signal(signal.SIGINT)
        _, errors = launcher.communicate(timeout=patience)

        self.assertEqual(launcher.returncode, 0, errors)
        self.assertEqual(len(self.attempts()), 1)


if __name__ == "__main__":
    unittest.main()
