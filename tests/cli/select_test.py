"""`tally select`: many models in one pass. Each is what a fit of its own gives, the criteria are those of the fitted models,
the best is written, on any number of ranks."""

import json
import os
import re
import signal
import subprocess
import time
import unittest
import xml.etree.ElementTree

import h5py
import numpy as np

from tally_cli import Case, Model, TallyTest, command, data_status, mpirun, usage_status

rows = 6000
shapes = ("full", "tied", "diag", "spherical")
stopped_status = 6


def reseal(path):
    """Gives an archive that was changed the checksum of what it holds now (docs/file_format.md)."""
    mask, header = (1 << 64) - 1, 512
    with open(path, "rb") as file:
        body = file.read()[header:]
    value = 0x243F6A8885A308D3
    for word in [int.from_bytes(body[i:i + 8], "little") for i in range(0, len(body), 8)] + [len(body)]:
        value = (value ^ word) * 0x9E3779B97F4A7C15 & mask
        value ^= value >> 32
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        value = (value ^ value >> 33) * factor & mask
    value ^= value >> 33
    line = f"tally archive 1 length={len(body)} hash={value:016x}\n".encode()
    with open(path, "wb") as file:
        file.write(line.ljust(header, b"\0") + body)


class Select(TallyTest):
    def setUp(self):
        super().setUp()
        random = np.random.default_rng(5)
        labels = random.integers(0, 3, rows)
        spread = np.array([[1.0, 0.2], [0.3, 1.5], [0.7, 0.7]])
        self.x = np.array([[0, 0], [9, 2], [-4, 12]])[labels] + random.normal(size=(rows, 2)) * spread[labels]
        self.weights = random.integers(1, 4, rows).astype(float)
        file = self.write(x=self.x, weights=self.weights, counts=random.poisson([3, 40], size=(rows, 2)))
        self.data, self.weighted, self.counts = (f"{file}:/{name}" for name in ("x", "weights", "counts"))

    def select(self, model, *words, ranks=1):
        out = self.path()
        done = self.succeed("select", model, *words, "--out", out, "--quiet", "--json", ranks=ranks)
        return json.loads(done.stdout), Model(out)


class Results(Select):
    def test_each_model_is_that_of_its_own_fit_and_the_best_is_written(self):
        words = [self.data, "--components", "1:5", "--covariance", ",".join(shapes), "--n-init", 2, "--weights", self.weighted,
                 "--init", "random-from-data", "--max-iter", 40]
        result, best = self.select("gmm", *words)

        self.assertEqual([(model["options"]["covariance"], model["components"]) for model in result["models"]],
                         [(shape, k) for shape in shapes for k in range(1, 6)])
        for model in result["models"]:
            alone = self.fit("gmm", self.data, model["components"], covariance=model["options"]["covariance"], n_init=2,
                             weights=self.weighted, init="random-from-data", max_iter=40)
            with self.subTest(model=model):
                self.assertEqual(model["log_likelihood"], alone.trace[-1])
                self.assertEqual(model["iterations"], len(alone.trace) - 1)
                self.assertEqual(model["status"], alone.training["status"])
                score = json.loads(self.succeed("score", alone.file, self.data, "--weights", self.weighted, "--json").stdout)
                self.assert_close([model["bic"], model["aic"]], [score["bic"], score["aic"]], 1e-12)
                responsibilities = self.probabilities(alone, self.data)
                logs = np.log(np.where(responsibilities > 0, responsibilities, 1))
                entropy = -(self.weights[:, None] * responsibilities * logs).sum()
                self.assert_close(model["entropy"], entropy, 1e-9, absolute=1e-9)
                self.assert_close(model["icl"], model["bic"] + 2 * entropy, 1e-12)
        chosen = result["models"][result["best"]]
        self.assertEqual(chosen["bic"], min(model["bic"] for model in result["models"]))
        self.assertEqual((chosen["options"]["covariance"], chosen["components"]), ("diag", 3))  # as the data were drawn
        alone = self.fit("gmm", self.data, 3, covariance="diag", n_init=2, weights=self.weighted, init="random-from-data",
                         max_iter=40)
        for name, values in alone.parameters.items():
            np.testing.assert_array_equal(best[name], values, name)
        np.testing.assert_array_equal(best.trace, alone.trace)

    def test_the_same_on_all_ranks_threads_and_streamed(self):
        words = [self.data, "--components", "2,4", "--covariance", "full,spherical", "--n-init", 2]
        expected, best = self.select("gmm", *words)
        for ranks, more in ((2, ["--threads", 1]), (3, ["--memory", "100K", "--threads", 2]), (4, [])):
            with self.subTest(ranks=ranks):
                result, other = self.select("gmm", *words, *more, ranks=ranks)
                self.assertEqual(result["models"], expected["models"])
                for name, values in best.parameters.items():
                    np.testing.assert_array_equal(other[name], values, name)

    def test_old_faithful_as_mclust_has_it(self):
        """mclust 6.0.0 (Debian's r-cran-mclust), me() with emControl(tol=1e-13, itmax=1e6); its sign turned round."""
        golden = Case("gmm_mclust14_faithful").golden["fits"]
        names = {"VVV": "full", "EEE": "tied", "VVI": "diag", "VII": "spherical"}
        result, _ = self.select("gmm", Case("gmm_faithful_k2").place("X"), "-k", "2:3", "--covariance", "all", "--n-init", 10,
                                "--reg-covar", 0, "--tol", 1e-13, "--max-iter", 5000)
        found = {(model["options"]["covariance"], model["components"]): model["bic"] for model in result["models"]}
        self.assertEqual(len(found), 2 * 14)
        for fit in golden.values():
            # Three components have several optima, and mclust's VVE ends below its own (mclust_test.py).
            if fit["model"] != "VVE" and (fit["G"] == 2 or fit["model"] in ("VII", "EEE")):
                self.assert_close(found[names.get(fit["model"], fit["model"]), fit["G"]], -fit["bic_converged"], 1e-7)
        chosen = result["models"][result["best"]]
        self.assertEqual((chosen["options"]["covariance"], chosen["components"]), ("tied", 3))

    def test_mclusts_words_are_taken_too(self):
        result, _ = self.select("gmm", self.data, "-k", 2, "--covariance", "VVV,full,EII", "--max-iter", 2)
        self.assertEqual([model["options"]["covariance"] for model in result["models"]], ["full", "EII"])

    def test_a_family_without_shapes(self):
        log = self.path(".log")
        result, best = self.select("poisson", self.counts, "-k", "1:3", "--log", log)
        self.assertEqual(result["models"][result["best"]]["components"], 1)
        self.assert_close(best["rates"], [np.mean(h5py.File(self.counts.split(":/")[0])["counts"][()], axis=0)], 1e-12)
        with open(log, encoding="utf-8") as lines:
            self.assertEqual(json.loads(lines.readlines()[-1]), {"event": "result", **result})

    def test_irises_as_mclust_has_them(self):
        """The first two of Mclust(iris[,1:4]) (Scrucca et al. 2016), their BIC by mclust 6.0.0 as above."""
        golden = Case("gmm_mclust14_iris").golden["fits"]
        result, _ = self.select("gmm", Case("gmm_iris_k3_true_labels").place("X"), "-k", "2:3", "--covariance", "all", "--n-init", 10,
                                "--reg-covar", 0, "--tol", 1e-10, "--max-iter", 5000, ranks=2)
        ordered = sorted(result["models"], key=lambda model: model["bic"])
        for model, components in zip(ordered, (2, 3)):
            self.assertEqual((model["options"]["covariance"], model["components"]), ("VEV", components))
            self.assert_close(model["bic"], -golden[f"VEV,{components}"]["bic_converged"], 1e-8)

    def test_pictures_in_the_docs_are_what_the_commands_beside_them_make(self):
        for name in ("faithful", "earthquakes"):  # the irises' has shapes with several optima
            with self.subTest(name=name):
                self.check_picture(name)

    def check_picture(self, name):
        source = os.environ["TALLY_SOURCE_DIR"]
        with open(os.path.join(source, "docs", "choosing_a_model.md"), encoding="utf-8") as page:
            line = re.search(rf"\$ tally (select .*{name}.*\\\n.*)--plot {name}.svg", page.read()).group(1)
        plot = self.path(".svg")
        subprocess.run([command, *line.replace("\\\n", " ").split(), "--plot", plot, "--quiet"], cwd=source, check=True,
                       capture_output=True, timeout=200)
        drawn, shown = (list(xml.etree.ElementTree.parse(file).getroot().iter())
                        for file in (plot, os.path.join(source, "docs", "pictures", f"{name}.svg")))
        self.assertEqual([(element.tag, element.text) for element in drawn], [(element.tag, element.text) for element in shown])
        for one, other in zip(drawn, shown):
            for name in ("x", "y", "x1", "y1", "cx", "cy"):
                self.assertLess(abs(float(one.get(name, 0)) - float(other.get(name, 0))), 0.5, one.attrib)

    def test_the_table_marks_the_best_and_the_plot_shows_every_shape(self):
        plot = self.path(".svg")
        done = self.succeed("select", "gmm", self.data, "-k", "1:4", "--covariance", "full,diag", "--plot", plot, "--quiet",
                            "--criterion", "icl")
        lines = done.stdout.splitlines()
        self.assertEqual(len(lines), 2 + 8)
        marked = [line for line in lines if line.startswith("* ")]
        self.assertEqual(len(marked), 1)
        self.assertRegex(marked[0], r"^\* diag +3 ")
        self.assertEqual(lines[-1], "best by icl: diag, 3 components")
        drawing = xml.etree.ElementTree.parse(plot).getroot()
        words = [element.text for element in drawing.iter("{http://www.w3.org/2000/svg}text")]
        for word in ("full", "diag", "1", "4"):
            self.assertIn(word, words)
        self.assertEqual(len(list(drawing.iter("{http://www.w3.org/2000/svg}circle"))), 8)

    def test_a_plot_of_models_that_are_the_same(self):
        one = self.write_data(self.x[:, :1])
        self.succeed("select", "gmm", one, "-k", "1", "--covariance", "all", "--reg-covar", 0, "--plot", self.path(".svg"), "--quiet")

    def test_a_model_that_cannot_be_fitted_leaves_the_others(self):
        x = np.repeat(np.arange(3.0), 4)[:, None]  # three distinct values, no more
        result, _ = self.select("gmm", self.write_data(x), "-k", "1,3", "--reg-covar", 0, "--max-iter", 60, "--tol", 0)
        statuses = [model["status"] for model in result["models"]]
        self.assertIn("failed", statuses)
        self.assertIn("failure", result["models"][statuses.index("failed")])
        self.assertNotEqual(result["models"][result["best"]]["status"], "failed")


class Interrupted(Select):
    def test_goes_on_from_a_checkpoint_with_the_same_bits(self):
        words = [self.data, "-k", "2:4", "--covariance", "full,spherical", "--n-init", 2, "--tol", 0]
        expected, best = self.select("gmm", *words, "--max-iter", 60)
        folder = self.path("")
        self.select("gmm", *words, "--max-iter", 20, "--checkpoint", folder, "--every", 5, ranks=2)
        result, resumed = self.select("gmm", *words, "--max-iter", 60, "--checkpoint", folder, "--resume", ranks=3)
        self.assertEqual(result["models"], expected["models"])
        np.testing.assert_array_equal(resumed.trace, best.trace)
        self.refuse("select", "gmm", self.data, "-k", "2:5", "--checkpoint", folder, "--resume", status=usage_status,
                    says="another model, start, seed or precision")
        self.refuse("fit", "gmm", self.data, "-k", 2, "--checkpoint", folder, "--resume", status=usage_status,
                    says="another model")

    def test_a_stop_on_request_says_what_is_best_so_far(self):
        folder, out = self.path(""), self.path()
        process = subprocess.Popen(
            [mpirun, "-n", "2", command, "select", "gmm", self.data, "-k", "2:6", "--tol", "0", "--max-iter", "1000000",
             "--checkpoint", folder, "--every", "1", "--out", out, "--quiet"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while not (os.path.isdir(folder) and any(name.endswith(".h5") for name in os.listdir(folder))):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        process.send_signal(signal.SIGUSR1)
        said, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, stopped_status, errors)
        self.assertRegex(said, re.compile(r"^stopped on request; best so far by bic: \d components", re.MULTILINE))
        self.assertEqual(Model(out).training["status"], "unfinished")

    def test_a_terminated_one_leaves_the_best_so_far(self):
        out = self.path()
        log = self.path(".log")
        process = subprocess.Popen([command, "select", "gmm", self.data, "-k", "2:6", "--tol", "0", "--max-iter", "1000000",
                                    "--out", out, "--quiet", "--log", log], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   text=True)
        deadline = time.monotonic() + 60
        while not (os.path.exists(log) and os.path.getsize(log) > 1000):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        process.terminate()
        _, errors = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 128 + signal.SIGTERM, errors)
        self.assertEqual(Model(out).training["status"], "unfinished")

    def test_a_checkpoint_that_no_run_could_have_written_is_refused(self):
        words = [self.data, "-k", "2:3", "--n-init", 2, "--max-iter", 5]
        for what in ("candidates", "trace", "parameters", "reason"):
            folder = self.path("")
            self.select("gmm", *words, "--checkpoint", folder)
            newest = os.path.join(folder, max(name for name in os.listdir(folder) if name.endswith(".h5")))
            with h5py.File(newest, "r+") as file:
                start = file["checkpoint/models/0001/candidates/0001"]
                if what == "candidates":
                    del file["checkpoint/models/0001/candidates/0001"]
                elif what == "reason":
                    start.attrs["reason"] = 9
                else:
                    del start[what]
                    start[what] = np.zeros(0)
            reseal(newest)
            with self.subTest(what=what):
                self.refuse("select", "gmm", *words, "--checkpoint", folder, "--resume", says="another state")


class Refused(Select):
    def test_words_that_make_no_sense(self):
        for numbers, says in (("0:3", "'0' is not"), ("3:2", "ends before"), ("1:9:0", "'0' is not"), ("two", "'two'"),
                              ("", "''"), ("1,,3", "''"), ("1:2:3:4", "'1:2:3:4'")):
            self.refuse("select", "gmm", self.data, "--components", numbers, status=usage_status, says=says)
        self.refuse("select", "gmm", self.data, "-k", "2", "--covariance", "full,round", status=usage_status, says="'round'")
        self.refuse("select", "gmm", self.data, "-k", "2", "--criterion", "best", status=usage_status, says="bic, aic and icl")
        self.refuse("select", "gmm", self.data, "-k", "2", "--init", "labels:x", status=usage_status, says="labels:x")
        self.refuse("select", "gmm", self.data, "-k", "2", "--resume", status=usage_status, says="--checkpoint")
        self.refuse("select", "kmeans", self.data, "-k", "2", status=usage_status, says="no likelihood")
        self.refuse("select", "hmm", self.data, "-k", "2", status=usage_status, says="")

    def test_bad_data_on_several_ranks(self):
        x = self.x.copy()
        x[-1, 1] = np.nan
        for ranks in (1, 3):
            self.refuse("select", "gmm", self.write_data(x), "-k", "1:3", status=data_status, says="row 5999, column 1",
                        ranks=ranks)
        self.refuse("select", "gmm", self.data, "-k", "6001", status=data_status, says="fewer than 6001 components")
        out = self.path()
        self.refuse("select", "gmm", self.data, "-k", "2", "--plot", out, "--out", out, status=usage_status, says="two results")
        self.refuse("select", "gmm", self.data, "-k", "2", "--log", self.data.split(":/")[0], status=usage_status,
                    says="is read from")
        self.refuse("select", "gmm", self.data, "-k", "2", "--plot", os.path.join(self.folder, "no", "plot.svg"), says="plot")


if __name__ == "__main__":
    unittest.main()
