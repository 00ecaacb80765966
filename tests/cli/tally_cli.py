"""Runs the tally command as a person would, and reads what it leaves behind."""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest

import h5py
import numpy as np

source_folder = os.environ.get(
    "TALLY_SOURCE_DIR", os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
data_folder = os.path.join(source_folder, "tests", "data")
mpirun = os.environ.get("TALLY_MPIRUN", os.path.join(source_folder, "tests", "mpirun.sh"))
command = os.environ.get("TALLY", "tally")

usage_status, data_status = 2, 3


def environment(grace=False):
    """For mpirun. When a rank has ended the job, Open MPI's gives the others a second or two before it kills them: not in hundreds of
    refusals, but with `grace`."""
    at_once = {"OMPI_MCA_odls_base_sigkill_timeout": "0", "PRTE_MCA_odls_base_sigkill_timeout": "0"}
    return {**os.environ, **({} if grace else at_once)}


def run(*words, ranks=1, timeout=120, grace=False):
    """The finished process of `tally words...`, alone or behind mpirun, with `grace` as above."""
    line = [command, *(str(word) for word in words)]
    if ranks > 1:
        line = [mpirun, "-n", str(ranks), *line]
    return subprocess.run(line, capture_output=True, text=True, timeout=timeout, check=False,
                          env=environment(grace))


def option_words(options):
    """{"max_iter": 3} as ["--max-iter", "3"]; True is a flag."""
    words = []
    for name, value in options.items():
        words.append("--" + name.replace("_", "-"))
        if value is not True:
            words.append(repr(value) if isinstance(value, float) else str(value))
    return words


class Model:
    """A model file: its parameters by name, its trace and its attributes."""

    def __init__(self, path):
        with h5py.File(path, "r") as file:
            self.parameters = {name: array[()] for name, array in file["parameters"].items()}
            self.trace = file["training/objective"][()]
            self.attributes = dict(file.attrs)
            self.training = dict(file["training"].attrs)

    def __getitem__(self, name):
        return self.parameters[name]


def bits_of(path):
    """The objective and the parameters of a model file, bytes for bytes."""
    with h5py.File(path, "r") as file:
        names = ["training/objective", *("parameters/" + name for name in file["parameters"])]
        return {name: file[name][()].tobytes() for name in names}


def newest_checkpoint(folder):
    """How many iterations the newest whole checkpoint has behind it; 0: there is none."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    found = [re.fullmatch(r"checkpoint-(\d+)\.h5", name) for name in names]
    return max((int(match[1]) for match in found if match), default=0)


class Case:
    """A reference case: its published values and where its arrays are."""

    def __init__(self, name, cases_folder=os.path.join(data_folder, "cases")):
        folder = os.path.join(cases_folder, name)
        with open(os.path.join(folder, "golden.json"), encoding="utf-8") as file:
            self.golden = json.load(file)
        self.file = os.path.join(folder, "data.h5")

    def place(self, name):
        return f"{self.file}:/{name}"

    def array(self, name):
        with h5py.File(self.file, "r") as file:
            return file[name][()]


def covariance_matrices(covariances, shape, columns):
    """Any shape of covariance as matrices (K, D, D), or (D, D) where tied."""
    if shape == "diag":
        return np.array([np.diag(variances) for variances in covariances])
    if shape == "spherical":
        return np.array([variance * np.eye(columns) for variance in covariances])
    return covariances


class EdgeInput:
    """An input that must behave: what is expected of it and where its arrays are."""

    file = os.path.join(data_folder, "edge", "data.h5")

    def __init__(self, name):
        with open(os.path.join(data_folder, "edge", "edge.json"), encoding="utf-8") as file:
            found = next(case for case in json.load(file)["cases"] if case["id"] == name)
        self.name = name
        self.reference = found["reference"]
        self.tolerance = found["tolerance"]

    def place(self, name="X"):
        return f"{self.file}:/{self.name}/{name}"

    def array(self, name="X"):
        with h5py.File(self.file, "r") as file:
            return file[self.name][name][()]


class TallyTest(unittest.TestCase):
    """A test with a folder of its own."""

    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="tally-cli-")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.files = 0

    def path(self, ending=".h5"):
        """The name of a new file."""
        self.files += 1
        return os.path.join(self.folder, f"{self.files}{ending}")

    def write(self, **arrays):
        """Writes arrays to a new file and returns its name."""
        path = self.path()
        with h5py.File(path, "w") as file:
            for name, array in arrays.items():
                file[name] = np.asarray(array)
        return path

    def write_data(self, array):
        return self.write(x=array) + ":/x"

    def start(self, **parameters):
        """The value of --init for these parameters."""
        path = self.path()
        with h5py.File(path, "w") as file:
            file.create_group("start")
            for name, array in parameters.items():
                file[f"start/{name}"] = np.asarray(array, dtype=float)
        return f"parameters:{path}:/start"

    def fit(self, model, data, components, ranks=1, **options):
        """Fits and reads the model file; `result` is what --json printed."""
        out = self.path()
        words = option_words({"components": components, "out": out, **options})
        process = self.succeed("fit", model, data, *words, "--quiet", "--json", ranks=ranks)
        fitted = Model(out)
        fitted.file = out
        fitted.result = json.loads(process.stdout)
        return fitted

    def succeed(self, *words, ranks=1):
        process = run(*words, ranks=ranks)
        self.assertEqual(process.returncode, 0, process.stderr)
        return process

    def predict(self, fitted, data, name, *words, ranks=1):
        out = self.path()
        self.succeed("predict", fitted.file, data, "--out", f"{out}:/{name}", *words, ranks=ranks)
        with h5py.File(out, "r") as file:
            return file[name][()]

    def labels(self, fitted, data, ranks=1):
        """The most likely component of every row."""
        return self.predict(fitted, data, "labels", ranks=ranks)

    def probabilities(self, fitted, data, ranks=1):
        """The probability of every component for every row (N, K)."""
        return self.predict(fitted, data, "responsibilities", "--proba", ranks=ranks)

    def refuse(self, *words, status=data_status, says=(), ranks=1):
        """Expects one clear message from one rank, this exit status and no new file; returns the message."""
        before = sorted(os.listdir(self.folder))
        process = run(*words, ranks=ranks)
        messages = [line for line in process.stderr.splitlines() if line.startswith("tally: error:")]
        self.assertEqual(process.returncode, status, process.stderr)
        self.assertEqual(len(messages), 1, process.stderr)
        for text in [says] if isinstance(says, str) else says:
            self.assertIn(text, messages[0])
        self.assertEqual(sorted(os.listdir(self.folder)), before)
        return messages[0]

    def refuse_fit(self, model, data, components, ranks=1, status=data_status, says=(), **options):
        words = option_words({"components": components, "out": os.path.join(self.folder, "unwritten.h5"), **options})
        return self.refuse("fit", model, data, *words, "--quiet", ranks=ranks, status=status, says=says)

    def wait_until(self, what, condition, seconds=60, said=lambda: ""):
        """`said()` tells why not."""
        end = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), end, f"not within {seconds} s: {what}\n{said()}")
            time.sleep(0.03)

    def wait_for_checkpoints(self, folder, at_least=1):
        self.wait_until(f"{at_least} checkpoints", lambda: os.path.isdir(folder) and
                        len([name for name in os.listdir(folder) if name.endswith(".h5")]) >= at_least)

    def assert_close(self, actual, expected, relative, absolute=0.0):
        """Element by element: |actual - expected| <= absolute + relative |expected|."""
        np.testing.assert_allclose(actual, expected, rtol=relative, atol=absolute)

    def assert_printed(self, actual, printed, last_digit):
        """Agrees with numbers printed to this last digit, rounded or cut off."""
        np.testing.assert_allclose(actual, printed, rtol=0, atol=1.001 * last_digit)
