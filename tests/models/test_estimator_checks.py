"""scikit-learn's own checks of estimators, over all of he_gpu.models.

What cannot hold for fixed point, secrecy or the public contract is listed with its reason, here and
in docs/training.md.
"""

import re
import warnings
from pathlib import Path

import pytest

from tests.models.estimators import names, small

pytest.importorskip(
    "sklearn",
    minversion="1.6",
    reason="the list of checks needs scikit-learn 1.6: pip install '.[test]'",
)

from sklearn.base import clone
from sklearn.utils.estimator_checks import estimator_checks_generator

ROUNDING = "products are rounded at random, so two fits differ by units of their fraction bits"
BEFORE_FIT = "a reservoir is fixed by its seed: `transform` works before `fit`"
REASONS = {
    "check_fit_idempotent": ROUNDING,
    "check_supervised_y_2d": ROUNDING,
    "check_transformers_unfitted": BEFORE_FIT,
}
"""The checks that do not apply."""
ONLY = {
    "check_supervised_y_2d": {"LinearRegression", "MLPRegressor", "ReservoirRegressor", "Ridge"},
    "check_transformers_unfitted": {"ReservoirClassifier", "ReservoirRegressor"},
}
"""The estimators of which that is true, where not of all."""
RATE = {"learning_rate": 1e-8, "n_steps": 9}
"""A constant rate that converges for columns of deviation 100, which some checks have."""
LEARN = {"learning_rate": 8e-5, "n_steps": 150, "width": 64}
SHORT = {"hidden_layer_sizes": (4,), "solver": "sgd", "learning_rate_init": 1e-3, "max_iter": 2}
TRAIN = {"learning_rate_init": 0.2, "max_iter": 8, "batch_size": 50}
LARGE = {"batch_size": 4}
"""A batch whose sums have room for columns of deviation 100."""
SETTINGS = {
    "MLPClassifier": SHORT,
    "MLPRegressor": SHORT,
    "ReservoirClassifier": RATE,
    "ReservoirRegressor": RATE,
}
"""Beside those of `small`, where there are others."""
OF_CHECK = {
    ("MLPClassifier", "check_classifiers_train"): TRAIN,
    ("MLPRegressor", "check_regressors_train"): TRAIN,
    ("MLPRegressor", "check_fit_check_is_fitted"): LARGE,
    ("MLPRegressor", "check_fit_idempotent"): LARGE,
    ("MLPRegressor", "check_n_features_in"): LARGE,
    ("ReservoirClassifier", "check_classifiers_train"): LEARN,
    ("ReservoirClassifier", "check_supervised_y_2d"): {
        "learning_rate": 7e-3,
        "n_steps": 400,
        "width": 16,
    },
    ("ReservoirRegressor", "check_regressors_train"): LEARN,
}
"""What a check asks for that looks at the score, or has data out of the others' range."""


def name_of(check):
    return getattr(check, "func", check).__name__


def cases():
    """Every estimator with every check that scikit-learn has for it."""
    for name in names():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*does not inherit from", UserWarning)
            pairs = list(estimator_checks_generator(small(name), legacy=True))
        for index, (estimator, check) in enumerate(pairs):
            check_name = name_of(check)
            parameters = SETTINGS.get(name, {}) | OF_CHECK.get((name, check_name), {})
            reason = REASONS.get(check_name)
            marks = []
            if reason and name in ONLY.get(check_name, {name}):
                # Two roundings may be the same.
                marks = [pytest.mark.xfail(reason=reason, strict=reason != ROUNDING)]
            estimator = clone(estimator).set_params(**parameters)
            yield pytest.param(estimator, check, id=f"{name}-{index}-{check_name}", marks=marks)


CASES = list(cases())


@pytest.mark.filterwarnings("ignore::he_gpu.errors.ConvergenceWarning")
@pytest.mark.parametrize(("estimator", "check"), CASES)
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


def test_the_documentation_lists_the_checks_that_do_not_apply():
    text = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
    _, section = text.split("## scikit-learn's checks that do not apply\n")
    rows = re.findall(r"^\| `(check_\w+)` \| (.+) \| (.+) \|$", section.split("\n## ")[0], re.M)
    of = {
        check: ", ".join(f"`{name}`" for name in sorted(ONLY[check])) if check in ONLY else "all"
        for check in REASONS
    }
    assert rows == [(check, of[check], reason) for check, reason in REASONS.items()]
    known = {param.id.split("-")[2] for param in CASES}
    assert set(REASONS) | {check for _, check in OF_CHECK} <= known
    assert set().union(*ONLY.values()) <= set(names())
