"""Cases whose data are not free to ship: in TALLY_REFERENCE, or in ../shared/reference beside the repository."""

import os
import unittest

from tally_cli import Case, TallyTest, source_folder

cases_folder = os.path.join(os.environ.get("TALLY_REFERENCE", os.path.join(source_folder, "..", "shared", "reference")), "cases")


@unittest.skipUnless(os.path.isdir(cases_folder), f"there is no {cases_folder}")
class UnshippedReference(TallyTest):
    def test_latent_classes_of_carcinoma(self):
        case = Case("lca_carcinoma", cases_folder)
        self.assertEqual(case.golden["tolerance"], "1e-10 rel traces; published last digit")
        for components in range(1, 5):
            golden = case.golden["models"][f"K{components}"]
            options = {"init": "responsibilities:" + case.place(f"start_resp_K{components}"), "tol": 0}
            for ranks in (1, 3):
                fitted = self.fit("bernoulli", case.place("X"), components, ranks, max_iter=len(golden["loglik_trace"]) - 1, **options)
                self.assert_close(fitted.trace, golden["loglik_trace"], 1e-10)
            fitted = self.fit("bernoulli", case.place("X"), components, max_iter=10, **options)
            self.assert_close(fitted["weights"], golden["theta_10"]["w"], 1e-8)
            self.assert_close(fitted["probabilities"], golden["theta_10"]["p_category2"], 1e-8, absolute=1e-15)
            fitted = self.fit("bernoulli", case.place("X"), components, max_iter=3000, **options)
            self.assert_close(fitted.trace[-1], golden["converged"]["loglik"], 1e-9)
            if components == 3:
                self.assert_printed(fitted.trace[-1], case.golden["published"]["K3_loglik"], 1e-3)
                self.assert_printed(sorted(fitted["weights"]), sorted(case.golden["published"]["K3_shares"]), 1e-4)


if __name__ == "__main__":
    unittest.main()
