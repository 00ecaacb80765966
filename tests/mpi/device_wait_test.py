"""Ranks that wait for a sum on devices, which are fakes, while the last of them is in trouble: all end within the
deadline, with one error. DEVICE_WAIT_TEST names the program, TALLY_MPIRUN starts it."""

import os
import re
import subprocess
import tempfile
import unittest

program = os.environ["DEVICE_WAIT_TEST"]
mpirun = os.environ["TALLY_MPIRUN"]
patience = 60  # seconds; the program's own deadline is 2
device_status, communication_status, killed_status = 4, 5, 128 + 9


class Ending:
    def __init__(self, mode, ranks=3, launcher_options=()):
        with tempfile.TemporaryDirectory() as folder:
            line = [mpirun, *launcher_options, "-n", str(ranks), program, mode, folder]
            done = subprocess.run(line, capture_output=True, text=True, timeout=patience, check=False)
            self.status = done.returncode
            self.output = done.stderr
            self.errors = [text for text in done.stderr.splitlines() if text.startswith("error: ")]
            self.notes = {}
            for rank in os.listdir(folder):
                with open(os.path.join(folder, rank), encoding="utf-8") as file:
                    self.notes[int(rank)] = file.read()


class DeviceWait(unittest.TestCase):
    def check(self, ending, status, reporter, says, ranks=3):
        """One rank reports, all others among `ranks` were told the same."""
        self.assertEqual(len(ending.errors), 1, ending.output)
        message = ending.errors[0].removeprefix("error: ")
        self.assertRegex(message, says)
        expected = {rank: f"{'own' if rank == reporter else 'told'}: {message}" for rank in range(ranks)}
        self.assertEqual(ending.notes, expected)
        if status is not None:
            self.assertEqual(ending.status, status, ending.output)

    def test_slow_ranks_and_devices_are_waited_for(self):
        for mode in ("good", "slow", "turns", "busy"):
            with self.subTest(mode=mode):
                ending = Ending(mode)

                self.assertEqual((ending.status, ending.errors, ending.notes), (0, [], {}), ending.output)

    def test_a_device_that_fails_ends_all(self):
        for ranks in (2, 3, 5):
            with self.subTest(ranks=ranks):
                last = ranks - 1
                self.check(Ending("start", ranks), device_status, last,
                           f"^rank {last} on .*: the device refuses to start$", ranks)
                self.check(Ending("lost", ranks), device_status, last,
                           f"^rank {last} on .*: the device fell off the bus$", ranks)

    def test_a_sum_that_makes_no_progress_ends(self):
        self.check(Ending("stuck"), communication_status, 0, "^the sum on the devices made no progress for 2 s on 3 ranks")

    def test_ranks_that_wait_in_different_places_are_named(self):
        self.check(Ending("elsewhere"), communication_status, 0,
                   "rank 0 on .* waits in the sum on the devices while rank 2 on .* waits in barrier")

    def test_a_rank_that_stands_still_is_named(self):
        for mode, says in (("silent", "^rank 2 on .* gave no sign of life for 2 s while rank 0 on .* waited in the sum"),
                           ("left", "^rank 2 on .* ended its part of the job 2 s ago while rank 0 on ")):
            with self.subTest(mode=mode):
                ending = Ending(mode)

                ending.notes.setdefault(2, f"told: {ending.notes[0].removeprefix('own: ')}")  # it cannot say so
                self.check(ending, communication_status, 0, says)

    def test_a_killed_rank_ends_all(self):
        self.assertEqual(Ending("killed").status, killed_status)

    def test_a_killed_rank_is_noticed_where_the_launcher_does_not_help(self):
        words = subprocess.run([mpirun, "--version"], capture_output=True, text=True, check=False).stdout
        if not re.search(r"\(Open ?(MPI|RTE)\) 4\.", words):
            self.skipTest("only Open MPI 4's mpirun can be told to leave the others alone")

        ending = Ending("killed", launcher_options=["-enable-recovery"])

        ending.notes.setdefault(2, f"told: {ending.notes[0].removeprefix('own: ')}")
        # No status: that launcher says 0 whatever its ranks say.
        self.check(ending, None, 0, "^rank 2 on .* gave no sign of life for 2 s while rank 0 on .* waited in the sum")


if __name__ == "__main__":
    unittest.main()
