"""tally launch where it has to wait for what does not end."""

import ctypes
import os
import signal
import unittest
import unittest.mock

import launch_test


class LaunchWaits(launch_test.Launching):
    def test_a_process_that_cannot_be_killed_is_not_waited_for(self):
        """As in the midst of a call to a disk: here its tracer does not let its parent see that it has ended."""
        mark = self.path("")
        mpirun = self.script('[ "$1" != --version ] || exec echo "mpirun (Open MPI) 4.1.4"\n'
                             f'echo $$ >{mark}\nmv {mark} {mark}-\nwhile :; do sleep 1; done\n')
        process = self.start("--mpirun", mpirun, "-n", "2", job=["models"])
        self.wait_until("it runs", lambda: os.path.exists(mark + "-"))
        with open(mark + "-", encoding="utf-8") as file:
            number = int(file.read())
        seize = 0x4206  # of ptrace
        if ctypes.CDLL(None).ptrace(seize, number, None, None) != 0:
            self.skipTest("no process can be traced here")
        self.addCleanup(os.waitpid, number, 0)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        self.assertIn(f"process {number} cannot be ended: it waits for a disk or a network file system to answer", errors)
        self.assertEqual(process.returncode, 128 + signal.SIGKILL, errors)

    def test_an_interrupt_while_the_hosts_are_looked_at(self):
        mark = self.path("")
        agent = self.script(f"touch {mark}\nwhile [ -e {mark} ]; do sleep 0.2; done\n")
        with unittest.mock.patch.dict(os.environ, OMPI_MCA_plm_rsh_agent=agent):
            process = self.start("--hosts", "one,two", job=["models"])
        self.addCleanup(os.remove, mark)
        self.wait_until("the hosts are looked at", lambda: os.path.exists(mark))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
        self.assertEqual(process.returncode, 128 + signal.SIGINT)
        self.assert_all_gone(agent)


if __name__ == "__main__":
    unittest.main()
