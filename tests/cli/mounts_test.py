"""File systems that cannot be written: skipped where nothing may be mounted (an unprivileged container, a chroot)."""

import os
import pathlib
import subprocess
import unittest

import numpy as np

import bad_input_test
from bad_input_test import components, rank_counts
from tally_cli import Model, command, data_status, mpirun


class Mounted(bad_input_test.BadInput):
    def mounting(self, mount_options):
        """Words that enter a name space, and a shell's that mount a small file system on `mounted` there."""
        place = os.path.join(self.folder, "mounted")
        os.makedirs(place, exist_ok=True)
        enter = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--mount"]
        mount = f'mount -t tmpfs -o {mount_options} tmpfs "{place}" || exit 99; '
        probe = subprocess.run([*enter, "sh", "-c", mount], capture_output=True, text=True, timeout=60, check=False)
        if probe.returncode != 0:
            self.skipTest("no file system can be mounted here: " + probe.stderr.strip())
        return enter, mount, place

    def on_mounted(self, mount_options, says, out, *words):
        """Refused where a small file system is mounted on `mounted`, in a name space of its own."""
        enter, mount, place = self.mounting(mount_options)
        listing = os.path.join(self.folder, "listing")
        open(listing, "w", encoding="utf-8").close()
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

    def test_a_disk_that_fills_up_takes_no_checkpoint_that_was_whole(self):
        enter, mount, place = self.mounting("size=2m")
        fit = [command, "fit", "gmm", self.data, "-k", str(components), "--init", "random-from-data", "--tol", "0"]
        alone = self.path()
        self.succeed(*fit[1:], "--max-iter", 9, "--out", alone)
        for ranks in rank_counts:
            with self.subTest(ranks=ranks):
                # The disk is full when the fit goes on, and has room again in the end.
                script = mount + f"""
                    run() {{ "$@" --out "{self.out}" --checkpoint "{place}/c" --every 1 2>&1; }}
                    run "$@" --max-iter 5 >"{self.folder}/first" || exit 10
                    ls "{place}/c" >"{self.folder}/before"
                    dd if=/dev/zero of="{place}/full" 2>"{self.folder}/dd"
                    run "$@" --max-iter 9 --resume >"{self.folder}/full"
                    [ $? = {data_status} ] || exit 11
                    ls "{place}/c" >"{self.folder}/after"
                    rm "{place}/full"
                    run "$@" --max-iter 9 --resume >"{self.folder}/last" || exit 12"""
                launcher = [] if ranks == 1 else [mpirun, "-n", str(ranks)]
                done = subprocess.run([*enter, "sh", "-c", script, "sh", *launcher, *fit], timeout=120, check=False)

                self.assertEqual(done.returncode, 0)
                said = {name: pathlib.Path(self.folder, name).read_text("utf-8") for name in ("before", "full", "after", "last")}
                self.assertEqual(said["full"].count("No space left on device"), 1, said["full"])
                self.assertEqual(len(said["before"].split()), 2)
                self.assertEqual(said["after"], said["before"])
                self.assertIn("resuming after iteration 5", said["last"])
                np.testing.assert_array_equal(Model(self.out)["means"], Model(alone)["means"])

    def test_a_file_system_that_may_only_be_read(self):
        place = os.path.join(self.folder, "mounted")
        read_only = ("cannot be written", "Read-only")
        self.on_mounted("ro", read_only, os.path.join(place, "m.h5"), "--max-iter", "1000000000")
        self.on_mounted("ro", read_only, self.out, "--max-iter", "1000000000", "--checkpoint", place)


if __name__ == "__main__":
    unittest.main()
