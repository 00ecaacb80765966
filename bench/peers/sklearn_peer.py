"""scikit-learn as a peer of mixtures.py."""
import pathlib
import sys
import warnings

import numpy
import sklearn
import sklearn.cluster
import sklearn.exceptions
import sklearn.mixture

import common
from mixtures import Workload


def estimator(workload, start, iterations):
    if workload.model == "kmeans":
        return sklearn.cluster.KMeans(workload.components, init=start["centers"].astype(workload.real()), n_init=1,
                                      max_iter=iterations, tol=0, algorithm="lloyd")
    covariances = start["covariances"]
    precisions = numpy.linalg.inv(covariances) if workload.covariance == "full" else 1 / covariances
    return sklearn.mixture.GaussianMixture(
        workload.components, covariance_type=workload.covariance, max_iter=iterations, tol=0, reg_covar=0,
        init_params="random_from_data", random_state=0, weights_init=start["weights"], means_init=start["means"],
        precisions_init=precisions)


def parameters(workload, fitted):
    if workload.model == "kmeans":
        return {"centers": fitted.cluster_centers_}
    return {"weights": fitted.weights_, "means": fitted.means_, "covariances": fitted.covariances_}


def run(versions, check=lambda fitted: None):
    """Serves; each fit of scikit-learn must pass the check."""
    folder, out = map(pathlib.Path, sys.argv[1:3])
    workload = Workload.from_words(sys.argv[3:])
    data, start = workload.read_data(folder), workload.read_parameters(folder)

    def fit(iterations):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", sklearn.exceptions.ConvergenceWarning)
            fitted = estimator(workload, start, iterations).fit(data)
        if fitted.n_iter_ != iterations:
            raise SystemExit(f"stopped after {fitted.n_iter_} iterations of {iterations}")
        check(fitted)
        return fitted

    def measure_once():
        fitted, measurement = common.measurement_of_iteration(fit, workload.few, workload.many)
        workload.write_parameters(out, parameters(workload, fitted))
        return measurement

    common.serve(versions, measure_once)


if __name__ == "__main__":
    run({"scikit-learn": sklearn.__version__, "numpy of scikit-learn": numpy.__version__})
