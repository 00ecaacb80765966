"""faiss on the CPU as a peer of mixtures.py: exact search for the nearest centre, on all rows, never a sample of them."""
import pathlib
import sys

import faiss

import common
from mixtures import Workload


def main():
    folder, out = map(pathlib.Path, sys.argv[1:3])
    workload = Workload.from_words(sys.argv[3:])
    data = workload.read_data(folder)
    start = workload.read_parameters(folder)["centers"].astype(workload.real())

    def fit(iterations):
        fitted = faiss.Kmeans(workload.columns, workload.components, niter=iterations, max_points_per_centroid=workload.rows)
        fitted.train(data, init_centroids=start)
        return fitted

    def measure_once():
        fitted, measurement = common.measurement_of_iteration(fit, workload.few, workload.many)
        workload.write_parameters(out, {"centers": fitted.centroids})
        return measurement

    common.serve({"faiss": faiss.__version__}, measure_once)


main()
