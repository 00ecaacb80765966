"""Virtual data sets, as h5py makes them, are read as their sources."""

import os
import unittest

import h5py
import numpy as np

from tally_cli import TallyTest


class VirtualDataTest(TallyTest):
    def test_a_layout_made_in_python_is_read_as_its_sources(self):
        x = np.random.default_rng(6).normal(size=(9000, 3))
        first, second, index = self.write(x=np.vstack([np.zeros((5, 3)), x[:4000]])), self.write(x=x[4000:]), self.path()
        with h5py.File(index, "w", libver="latest") as file:
            layout = h5py.VirtualLayout(shape=x.shape, dtype=x.dtype)
            layout[:4000] = h5py.VirtualSource(first, "x", shape=(4005, 3))[5:]
            layout[4000:] = h5py.VirtualSource(os.path.basename(second), "x", shape=(5000, 3))
            file.create_virtual_dataset("x", layout)
        whole = self.fit("kmeans", self.write_data(x), 4, max_iter=3)

        split = self.fit("kmeans", index + ":/x", 4, ranks=2, max_iter=3)

        np.testing.assert_array_equal(split["centers"], whole["centers"])
        os.remove(second)
        self.refuse_fit("kmeans", index + ":/x", 4, says=os.path.basename(second) + " does not exist; rows 4000 to 8999 of")


if __name__ == "__main__":
    unittest.main()
