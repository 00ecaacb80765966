"""File systems that cannot be written: skipped where nothing may be mounted (an unprivileged container, a chroot)."""

import os
import subprocess
import unittest

import bad_input_test
from bad_input_test import components, rank_counts
from tally_cli import command, data_status, mpirun


class Mounted(bad_input_test.BadInput):
    def on_mounted(self, mount_options, says, out, *words):
        """Refused where a small file system is mounted on `mounted`, in a name space of its own."""
        place = os.path.join(self.folder, "mounted")
        os.makedirs(place, exist_ok=True)
        listing = os.path.join(self.folder, "listing")
        open(listing, "w", encoding="utf-8").close()
        enter = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
        mount = f'mount -t tmpfs -o {mount_options} tmpfs "{place}" || exit 99; '
        probe = subprocess.run([*enter, "sh", "-c", mount], capture_output=True, text=True, timeout=60, check=False)
        if probe.returncode != 0:
            self.skipTest("no file system can be mounted here: " + probe.stderr.strip())
        for ranks in rank_counts:
            with self.subTest(out=out, ranks=ranks):
                launcher = [] if ranks == 1 else [mpirun, "-n", str(ranks)]
                line = [*launcher, command, "fit", "gmm", self.data, "-k", str(components), "--out", out, "--quiet",
                        *words]
                run = mount + f'"$@"; status=$?; find "{place}" -type f > "{listing}"; exit $status'
                self.expect([*enter, "sh", "-c", run, "sh", *line], says, data_status, ranks)
                with open(listing, encoding="utf-8") as file:
                    self.assertEqual(file.read(), "")

    def test_a_full_disk(self):
        place = os.path.join(self.folder, "mounted")
        full = ("cannot be written", "No space left")
        self.on_mounted("size=4k", full, os.path.join(place, "m.h5"))
        self.on_mounted("size=4k", full, self.out, "--checkpoint", place, "--every", "1")

    def test_a_file_system_that_may_only_be_read(self):
        place = os.path.join(self.folder, "mounted")
        read_only = ("cannot be written", "Read-only")
        self.on_mounted("ro", read_only, os.path.join(place, "m.h5"), "--max-iter", "1000000000")
        self.on_mounted("ro", read_only, self.out, "--max-iter", "1000000000", "--checkpoint", place)


if __name__ == "__main__":
    unittest.main()
