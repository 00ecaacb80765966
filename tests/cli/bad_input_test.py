"""Bad input: one clear message from one rank, the documented exit status, nothing left behind, no hang, on 1 and on 3
ranks."""

import os
import resource
import subprocess
import unittest

import h5py
import numpy as np

from tally_cli import TallyTest, command, data_status, environment, mpirun, option_words, usage_status

rank_counts = (1, 3)
rows, columns, components = 9001, 3, 3  # three blocks, one for each of three ranks
last_row = rows - 1


def words_of_tally(stderr):
    """What the command said; the rest is mpirun's."""
    return [line for line in stderr.splitlines() if line.startswith("tally:")]


def files_below(folder):
    return sorted(os.path.join(where, name) for where, folders, names in os.walk(folder) for name in folders + names)


class BadInput(TallyTest):
    def setUp(self):
        super().setUp()
        random = np.random.default_rng(4)
        self.x = random.normal(size=(rows, columns)) + random.integers(0, 3, rows)[:, None] * 4
        self.labels = random.integers(0, components, rows)
        self.file = self.write(x=self.x, labels=self.labels, counts=random.poisson(3.0, size=(rows, columns)))
        self.data = self.file + ":/x"
        self.out = os.path.join(self.folder, "unwritten.h5")

    def with_value(self, row, column, value, dtype=float):
        x = self.x.astype(dtype)
        x[row, column] = value
        return self.write_data(x)

    grace = False  # of mpirun (tally_cli.environment)

    def expect(self, line, says, status=data_status, ranks=1):
        """Runs a command line that must be refused."""
        before = files_below(self.folder)
        done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False,
                              env=environment(self.grace))
        said = words_of_tally(done.stderr)
        self.assertEqual(done.returncode, status, done.stderr)
        self.assertEqual(len(said), 1, done.stderr)
        self.assertTrue(said[0].startswith("tally: error: "), said[0])
        for text in [says] if isinstance(says, str) else says:
            self.assertIn(text, said[0])
        if ranks == 1:
            self.assertEqual(done.stderr.splitlines(), said)
        self.assertEqual(done.stdout.strip() if ranks == 1 else "", "")
        self.assertEqual(files_below(self.folder), before)

    def refused(self, model, data, says, status=data_status, words=(), on=rank_counts, **options):
        data = [data] if isinstance(data, str) else data
        options = {"components": components, "out": self.out, **options}
        options = {name: value for name, value in options.items() if value is not None}
        line = [command, "fit", model, *data, *option_words(options), "--quiet", *words]
        for ranks in on:
            with self.subTest(says=says, ranks=ranks):
                self.expect(line if ranks == 1 else [mpirun, "-n", str(ranks), *line], says, status, ranks)


class BadData(BadInput):
    def test_the_model_may_not_replace_what_is_read(self):
        before = open(self.file, "rb").read()

        self.refused("kmeans", self.data, "", usage_status, out=self.file)
        labels = "labels:" + self.file + ":/labels"
        self.refused("gmm", self.write_data(self.x), "", usage_status, out=self.file, init=labels)

        self.assertEqual(open(self.file, "rb").read(), before)

    def test_a_file_or_data_set_that_is_not_there(self):
        missing = os.path.join(self.folder, "missing.h5")
        self.refused("gmm", missing + ":/x", (missing, "does not exist"))
        self.refused("gmm", self.file + ":/y", (self.file, "no data set /y", "/x"))
        self.refused("gmm", self.folder + ":/x", "it is a folder")
        self.refused("gmm", os.path.join(self.folder, "part-*.h5") + ":/x", "matches no file")
        self.refused("gmm", [self.data, missing + ":/x"], (missing, "does not exist"))
        self.refused("gmm", self.file, ("names no data set", self.file + ":/name"), usage_status)

    def test_a_data_set_of_another_rank_or_type(self):
        self.refused("gmm", self.write_data(np.zeros((9, 3, 3))), "3 dimensions")
        self.refused("gmm", self.write_data(7.0), "single number")
        self.refused("gmm", self.write(x=np.array([b"one", b"two", b"three"])) + ":/x", "strings")
        self.refused("gmm", self.write(x=np.zeros(9, dtype=[("a", "f8"), ("b", "i4")])) + ":/x", "several fields")
        path = self.path()
        with h5py.File(path, "w") as file:
            file["group/x"] = self.x
            file["empty"] = h5py.Empty("f8")
        self.refused("gmm", path + ":/group", ("is a group", "/group/x"))
        self.refused("gmm", path + ":/empty", "no shape")
        self.refused("gmm", [self.data, self.write_data(self.x[:, :2])], ("2 columns", "3"))

    def test_a_damaged_file(self):
        path = self.path()
        with open(self.file, "rb") as file:
            whole = file.read()
        with open(path, "wb") as file:
            file.write(whole[: len(whole) // 2])
        self.refused("gmm", path + ":/x", (path, "truncated"))
        with open(path, "wb") as file:
            file.write(np.random.default_rng(5).bytes(5000))
        self.refused("gmm", path + ":/x", (path, "not an HDF5 file"))
        open(path, "wb").close()
        self.refused("gmm", path + ":/x", (path, "not an HDF5 file"))

    def test_a_damaged_chunk_that_one_rank_reads(self):
        path = self.path()
        with h5py.File(path, "w") as file:
            stored = file.create_dataset("x", data=self.x, chunks=(500, columns), fletcher32=True)
            last = stored.id.get_chunk_info(stored.id.get_num_chunks() - 1)
        with open(path, "r+b") as file:
            file.seek(last.byte_offset)
            file.write(b"\xff" * 16)
        self.grace = True  # others would have the time to report it once more
        for memory in (None, "400K"):
            self.refused("gmm", path + ":/x", (path + ":/x rows", "cannot be read"), memory=memory)

    def test_a_value_that_is_no_number(self):
        for model in ("gmm", "kmeans"):
            data = self.with_value(last_row, 1, np.nan)
            self.refused(model, data, f"{data} row {last_row}, column 1 is NaN")
        counts = np.full((rows, columns), 2.0)
        counts[last_row, 1] = np.nan
        self.refused("poisson", self.write_data(counts), f"row {last_row}, column 1 is NaN")
        data = self.with_value(5000, 2, -np.inf, np.float32)
        self.refused("gmm", data, f"{data} row 5000, column 2 is infinite")
        # The first of several is named, whoever finds his first.
        x = self.x.copy()
        x[[100, 4100, 8999], [1, 0, 2]] = np.nan
        data = self.write_data(x)
        self.refused("kmeans", data, f"{data} row 100, column 1 is NaN")
        # In the second of two files that act as one.
        second = self.with_value(17, 0, np.nan)
        self.refused("gmm", [self.data, second], f"{second} row 17, column 0 is NaN")
        self.refused("gmm", self.with_value(last_row, 0, np.nan), f"row {last_row}, column 0 is NaN",
                     precision="single", memory="400K")

    def test_a_value_that_is_no_count(self):
        counts = np.full((rows, columns), 2.0)
        counts[4500, 1] = -1
        self.refused("poisson", self.write_data(counts), "row 4500, column 1 is negative")
        counts[4500, 1] = 0.5
        self.refused("poisson", self.write_data(counts), "row 4500, column 1 is not a whole number")

    def test_too_little_data(self):
        self.refused("gmm", self.write_data(self.x[:2]), ("2 rows", "3 components"))
        self.refused("kmeans", self.write_data(np.zeros((0, 3))), "no rows")
        self.refused("gmm", self.write_data(np.zeros((9, 0))), "no columns")
        self.refused("poisson", self.write_data(np.zeros(0)), "no rows")

    def test_values_beyond_the_range_of_numbers(self):
        huge = self.x.copy()
        huge[:, 1] = 1.7e308
        self.refused("gmm", self.write_data(huge), "scale the data down")

    def test_bad_weights(self):
        def weights(values):
            return self.write(w=values) + ":/w"

        ones = np.ones(rows)
        for value in (-0.5, np.nan, np.inf):
            bad = ones.copy()
            bad[last_row] = value
            place = weights(bad)
            self.refused("gmm", self.data, (place, f"row {last_row}", "negative or not finite"), weights=place)
        self.refused("gmm", self.data, (f"{rows - 1} weights", f"{rows} rows"), weights=weights(ones[1:]))
        self.refused("gmm", self.data, "every weight is 0", weights=weights(0 * ones))
        self.refused("gmm", self.data, "2 columns", weights=weights(np.ones((rows, 2))))
        self.refused("gmm", self.data, "does not exist", weights=os.path.join(self.folder, "no.h5:/w"))
        two_rows = 0 * ones
        two_rows[[3, 8000]] = 1
        self.refused("kmeans", self.data, ("3 components", "2"), weights=weights(two_rows), init="random-from-data")


class BadStart(BadInput):
    def given(self, way, values):
        return f"{way}:{self.write(y=values)}:/y"

    def test_labels(self):
        for value in (components, -1, 0.5, np.nan):
            labels = self.labels.astype(float)
            labels[last_row] = value
            self.refused("gmm", self.data, (f"label of row {last_row}", "from 0 to 2"),
                         init=self.given("labels", labels))
        self.refused("gmm", self.data, f"{rows} rows", init=self.given("labels", self.labels[1:]))
        self.refused("gmm", self.data, "3 columns", init=self.given("labels", np.eye(3)[self.labels]))
        self.refused("kmeans", self.data, "labels needs a file", usage_status, init="labels")
        self.refused("kmeans", self.data, "names no data set", usage_status, init="labels:" + self.file)

    def test_responsibilities(self):
        given = np.eye(components)[self.labels]
        for bad, says in (([0.5, 0.4, 0.0], "do not sum to 1"), ([1.5, -0.5, 0.0], "not within 0 to 1"),
                          ([np.nan, 0.5, 0.5], "not within 0 to 1")):
            given[last_row] = bad
            self.refused("gmm", self.data, (f"row {last_row}", says), init=self.given("responsibilities", given))
        self.refused("gmm", self.data, "2 columns", init=self.given("responsibilities", given[:, :2]))

    def test_parameters(self):
        means, weights = np.zeros((components, columns)), np.full(components, 1 / 3)
        identity = np.tile(np.eye(columns), (components, 1, 1))
        lopsided = identity.copy()
        lopsided[1, 0, 2] = 0.5
        indefinite = identity.copy()
        indefinite[2, 0, 1] = indefinite[2, 1, 0] = 2.0
        for number, (says, start) in enumerate((
                (("'centres'", "means"), {"centres": means}),
                (("'means'", "wrong shape", "(3, 3)"), {"means": means[:, :2]}),
                (("'means'", "wrong shape"), {"means": means[:2]}),
                (("'means'", "not finite"), {"means": means * np.nan}),
                (("'weights'", "wrong shape"), {"weights": weights[:2]}),
                (("'weights'", "sums to"), {"weights": weights * 2}),
                (("'weights'", "below 0"), {"weights": np.array([1.5, -0.5, 0.0])}),
                (("'covariances'", "wrong shape"), {"covariances": np.eye(columns)}),
                (("'covariances'", "not symmetric", "component 1"), {"covariances": lopsided}),
                (("component 2",), {"covariances": indefinite}),
                (("not finite",), {"covariances": np.full_like(identity, np.inf)}),
        )):
            self.refused("gmm", self.data, says, init=self.start(**start), on=rank_counts if number % 5 == 0 else (1,))
        self.refused("gmm", self.data, "not positive", covariance="diag",
                     init=self.start(covariances=-np.ones((components, columns))))
        self.refused("gmm", self.data, "not positive", covariance="spherical",
                     init=self.start(covariances=np.zeros(components)))
        self.refused("kmeans", self.data, ("'centers'", "wrong shape"), init=self.start(centers=means[:2]))
        self.refused("poisson", self.file + ":/counts", ("'rates'", "negative"), init=self.start(rates=means - 1))
        self.refused("gmm", self.data, "no group /start", init=f"parameters:{self.file}:/start")
        self.refused("gmm", self.data, "does not exist", init="parameters:" + os.path.join(self.folder, "no.h5"))
        text = self.path()
        with h5py.File(text, "w") as file:
            file["start/means"] = np.array([b"one", b"two"])
            file.create_group("nothing")
        self.refused("gmm", self.data, "does not hold numbers", init=f"parameters:{text}:/start")
        self.refused("gmm", self.data, "no arrays", init=f"parameters:{text}:/nothing")

    def test_a_model(self):
        model = self.path()
        self.fit_to(model, "gmm", self.data)
        narrow, other, fewer = self.path(), self.path(), self.path()
        self.fit_to(narrow, "gmm", self.write_data(self.x[:, :2]))
        self.fit_to(other, "kmeans", self.data)
        self.fit_to(fewer, "gmm", self.data, components=2)
        self.refused("gmm", self.data, (narrow, "3 components of 2 columns", "of 3"), init="model:" + narrow)
        self.refused("gmm", self.data, (other, "kmeans", "not gmm"), init="model:" + other)
        self.refused("gmm", self.data, "2 components", init="model:" + fewer)
        self.refused("gmm", self.data, "covariance", init="model:" + model, covariance="diag")
        self.refused("gmm", self.data, "not a model file", init="model:" + self.file)
        with open(model, "r+b") as file:
            file.seek(-100, os.SEEK_END)
            byte = file.read(1)[0]
            file.seek(-100, os.SEEK_END)
            file.write(bytes([byte ^ 1]))
        self.refused("gmm", self.data, (model, "damaged"), init="model:" + model)

    def fit_to(self, out, model, data, components=components, **options):
        options = {"components": components, "out": out, "max_iter": 2, **options}
        line = [command, "fit", model, data, *option_words(options), "--quiet"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)


class BadOptions(BadInput):
    def setUp(self):
        super().setUp()
        self.on = rank_counts

    def usage(self, says, data=None, model="gmm", words=(), **options):
        """The first of a test on several ranks, too: words are read before ranks meet, and mpirun takes its time to end."""
        self.refused(model, self.data if data is None else data, says, usage_status, words, on=self.on, **options)
        self.on = (1,)

    def test_unknown_commands_and_words(self):
        self.refuse("fitt", "gmm", status=usage_status, says="error: not expected: fitt gmm; see tally --help")
        self.refuse(status=usage_status, says="required; see tally --help")
        self.refuse("info", self.data, "--all", 3, status=usage_status, says="error: not expected: --all 3; see tally info --help")

    def test_unknown_ones(self):
        self.usage("--colour", words=["--colour", "red"])
        self.usage("square", covariance="square")
        self.usage("sorted", init="sorted")
        self.usage("half not in {double,single,tf32}", precision="half")
        self.usage("--covariance", model="kmeans", covariance="full")
        for line in (["fit"], ["fit", "forest", self.data], ["befit"], []):
            for ranks in rank_counts:
                with self.subTest(line=line, ranks=ranks):
                    launcher = [] if ranks == 1 else [mpirun, "-n", str(ranks)]
                    self.expect([*launcher, command, *line], "", usage_status, ranks)

    def test_values_that_make_no_sense(self):
        for text in ("lots", "12X", "-1G", "", "0", "nan", "inf", "1e30G", "5 M M"):
            self.usage("memory", memory=text)
        self.usage("--n-init", n_init=0)
        self.usage("--n-init", n_init=-3)
        self.usage("--n-init", n_init="two")
        self.usage("--components: 0 is not a whole number from 1 on;", components=0)
        self.usage("--components: -2 is not a whole number from 1 on;", components=-2)
        self.usage("--components: many is not a whole number from 1 on;", components="many")
        self.usage("--components: 2.5 is not a whole number from 1 on;", components=2.5)
        self.usage("--states: 0 is not a whole number from 1 on;", model="hmm", components=None, states=0)
        self.usage("--components", components=None)
        self.usage("--max-iter: -1 is not a whole number from 0 on;", max_iter=-1)
        self.usage("--tol: -0.1 is not a number from 0 on;", tol=-0.1)
        self.usage("--tol: nan is not a number from 0 on;", tol="nan")
        self.usage("reg-covar", reg_covar="-1")
        self.usage("reg-covar", reg_covar="small")
        self.usage("--threads: 0 is not a whole number from 1 on;", threads=0)
        self.usage("--every: 0 is not a whole number from 1 on;", every=0, checkpoint=self.folder)
        self.usage("--seed", seed="x")
        self.usage("reg-covar", reg_covar="nan")
        for seconds in ("0", "nan"):
            self.usage(f"--timeout: {seconds} is not a number from 0.2 to 1000000000;", words=["--timeout", seconds])

    def test_contradictory_ones(self):
        self.usage(("--resume", "--checkpoint"), words=["--resume"])
        self.usage("--out", out=None)
        self.usage(("--n-init 2", "labels"), n_init=2, init=f"labels:{self.file}:/labels")
        self.usage("takes no file", init="kmeans:" + self.file)
        self.usage("data", data=[])
        for init in (None, "random", "parameters:" + self.file):
            self.usage("--count-transitions needs --init labels:", model="hmm", words=["--count-transitions"], init=init)
        self.usage("--count-transitions needs --init labels:", model="hmm", words=["--count-transitions"],
                   labels=self.file + ":/labels")


class BadOutput(BadInput):
    def test_a_place_that_cannot_be_written(self):
        self.refused("gmm", self.data, "no folder", out=os.path.join(self.folder, "no", "m.h5"))
        self.refused("gmm", self.data, "no folder", out=os.path.join(self.file, "m.h5"))
        self.refused("gmm", self.data, "is a folder", out=self.folder)
        self.refused("gmm", self.data, ("/proc/m.h5", "cannot be written"), out="/proc/m.h5")
        self.refused("gmm", self.data, "no regular file", out="/dev/null")
        self.refused("gmm", self.data, ("log", "cannot be written"), log=os.path.join(self.folder, "no", "log"))
        self.refused("gmm", self.data, "checkpoint folder", checkpoint=os.path.join(self.file, "folder"))
        self.refused("gmm", self.data, "checkpoint folder", checkpoint=self.file)
        self.refused("gmm", self.data, "cannot be written", checkpoint="/proc")

    def test_a_limit_on_the_size_of_files(self):
        """Alone: MPI itself needs larger files."""
        line = [command, "fit", "gmm", self.data, "-k", str(components), "--out", self.out, "--quiet"]
        before = files_below(self.folder)

        done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False,
                              preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))

        self.assertEqual(done.returncode, data_status, done.stderr)
        self.assertEqual(len(words_of_tally(done.stderr)), 1, done.stderr)
        self.assertIn("File too large", done.stderr)
        self.assertEqual(files_below(self.folder), before)


class BadCheckpoint(BadInput):
    def setUp(self):
        super().setUp()
        self.checkpoints = os.path.join(self.folder, "checkpoints")
        line = [command, "fit", "gmm", self.data, "-k", str(components), "--checkpoint", self.checkpoints, "--tol", "0",
                "--max-iter", "3", "--quiet"]
        done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)

    def resume_refused(self, says, status=data_status, model="gmm", data=None, **options):
        self.refused(model, data or self.data, says, status, checkpoint=self.checkpoints, resume=True, tol=0,
                     **options)

    def test_of_another_model(self):
        for options in ({"covariance": "diag"}, {"components": 2}, {"seed": 9}, {"n_init": 2}, {"precision": "single"},
                        {"init": "random"}, {"reg_covar": 0.5}, {"model": "kmeans"}):
            self.resume_refused("another model, start, seed or precision", usage_status, **options)

    def test_of_other_data(self):
        self.resume_refused("data have changed", data=self.write_data(self.x + 1e-9))
        self.resume_refused("data have changed", data=self.write_data(self.x[:-1]))
        self.resume_refused("data have changed", weights=self.write(w=self.labels + 1) + ":/w")

    def test_of_another_fit_in_the_way(self):
        self.refused("gmm", self.data, ("earlier fit", "--resume"), usage_status, checkpoint=self.checkpoints)


if __name__ == "__main__":
    unittest.main()
