"""Signals to a lone process that has more threads than its own: a BLAS library starts some as it is loaded."""

import os
import signal
import subprocess
import unittest

import numpy as np

from tally_cli import Model, TallyTest, command, option_words


class Signals(TallyTest):
    def test_a_signal_leaves_the_last_parameters_whatever_threads_libraries_have(self):
        data = self.write_data(np.random.default_rng(1).normal(size=(20000, 3)))
        environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
        environment["OPENBLAS_NUM_THREADS"] = "4"
        for number, status in ((signal.SIGUSR1, 6), (signal.SIGTERM, 128 + 15), (signal.SIGINT, 128 + 2)):
            for _ in range(3):  # the kernel chooses one of the threads that would take it
                with self.subTest(signal=number.name):
                    out, state = self.path(), self.path("")
                    words = option_words({"components": 4, "out": out, "tol": 0, "max_iter": 100000, "checkpoint": state, "every": 5})
                    with subprocess.Popen([command, "fit", "gmm", data, *words, "--quiet"], env=environment,
                                          stderr=subprocess.PIPE) as process:
                        self.wait_for_checkpoints(state)
                        process.send_signal(number)
                        process.communicate(timeout=60)
                        self.assertEqual(process.returncode, status)
                    fitted = Model(out)
                    self.assertEqual(fitted.training["status"], "unfinished")
                    self.assertGreater(fitted.training["iterations"], 0)


if __name__ == "__main__":
    unittest.main()
