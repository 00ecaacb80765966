"""What takes minutes, as it is done with every model: `tally check-device` on two ranks, and fits in many ways, on a device too."""

import unittest

import bits_test
import check_device_test
import device_test


class EveryModelIsChecked(check_device_test.CheckDevice):
    def test_the_table_names_them(self):
        self.assert_table(check_device_test.models)


class EveryModel(bits_test.FitsInManyWays):
    def test_has_the_same_bits_however_a_fit_is_cut(self):
        for model in bits_test.models:
            with self.subTest(model=model):
                self.check_model(model)


class EveryModelOnADevice(device_test.FitsOnADevice):
    def test_has_the_same_bits_and_is_near_the_cpus(self):
        for model in bits_test.models:
            with self.subTest(model=model):
                self.check_model(model)


if __name__ == "__main__":
    unittest.main()
