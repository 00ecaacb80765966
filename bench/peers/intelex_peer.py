"""scikit-learn-intelex as a peer of mixtures.py: scikit-learn, its k-means replaced by oneDAL's."""
import sklearnex

sklearnex.patch_sklearn(verbose=False)

import sklearn  # noqa: E402

import sklearn_peer  # noqa: E402


def check(fitted):
    """It goes back to scikit-learn without a word where it cannot do what was asked."""
    if not hasattr(fitted, "_onedal_estimator"):
        raise SystemExit("fitted by scikit-learn, not by oneDAL")


sklearn_peer.run({"scikit-learn-intelex": sklearnex.__version__, "scikit-learn beneath it": sklearn.__version__}, check)
