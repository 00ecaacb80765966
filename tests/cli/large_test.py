"""More values, and more rows, than 32 bits can count: what is planted lies past the 2^31st, and everything else is zeros that take
no room on the disk."""

import unittest

import h5py
import numpy as np

from tally_cli import TallyTest

past_31_bits = 2**31 + 3 * 4096 + 5
columns, planted = 32, 1000


class Large(TallyTest):
    def write_sparsely(self, rows, values, kind):
        path = self.path()
        with h5py.File(path, "w") as file:
            data = file.create_dataset("x", (rows, values.shape[1]), kind, chunks=(2**15, values.shape[1]))
            data[-len(values):] = values
        return path + ":/x"

    def test_values_past_the_2_to_the_31st_count(self):
        rows = past_31_bits // columns + 1
        data = self.write_sparsely(rows, np.full((planted, columns), 100), "i1")
        start = self.start(centers=[[1.0] * columns, [90.0] * columns])
        fitted = self.fit("kmeans", data, 2, ranks=2, init=start, max_iter=1, memory="1G")
        self.assert_close(fitted["centers"], [[0.0] * columns, [100.0] * columns], 1e-14, 1e-15)
        self.assert_close(fitted.trace, [columns * ((rows - planted) * 1.0 + planted * 100.0), 0.0], 1e-14, 1e-15)
        self.assertEqual(fitted.result["rows"], rows)

    def test_a_bad_row_past_the_2_to_the_31st_is_named(self):
        data = self.write_sparsely(past_31_bits, np.array([[1], [np.nan], [2]]), "f4")
        self.refuse_fit("kmeans", data, 2, ranks=2, memory="1G", says=f"row {past_31_bits - 2}, column 0")


if __name__ == "__main__":
    unittest.main()
