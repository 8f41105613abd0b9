"""Every estimator of he_gpu.models, small, and data that all of them learn in a moment."""

import numpy as np

import he_gpu as he

PERCEPTRON = {
    "hidden_layer_sizes": (8,),
    "solver": "sgd",
    "learning_rate_init": 0.1,
    "max_iter": 12,
    "batch_size": 20,
}
SETTINGS = {
    "LinearRegression": {},
    "LogisticRegression": {},
    "MLPClassifier": PERCEPTRON,
    "MLPRegressor": PERCEPTRON,
    "ReservoirClassifier": {"width": 32, "learning_rate": 1e-3, "n_steps": 40},
    "ReservoirRegressor": {"width": 32, "learning_rate": 1e-3, "n_steps": 40},
    "Ridge": {},
}
"""Parameters with which each fits 60 rows in some 50 ms or less."""
FIXED = {"random_state": 0, "log_every": 0}
"""Where an estimator has them."""


def names():
    """The public estimators."""
    return list(he.models.__all__)


def small(name, **parameters):
    """Return an estimator with small settings."""
    estimator = getattr(he.models, name)()
    fixed = {key: value for key, value in FIXED.items() if key in estimator.get_params()}
    return estimator.set_params(**fixed | SETTINGS[name] | parameters)


def is_classifier(name):
    return issubclass(getattr(he.models, name), he.models.classifier.Classifier)


def data(name, n=60):
    """Return standardised inputs of 3 features, and targets or labels that follow from them."""
    X = np.random.default_rng(0).normal(size=(n, 3))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    target = X @ [1.0, -0.5, 0.25] + 0.1 * np.abs(X[:, 0])
    if is_classifier(name):
        return X, np.where(target > 0, "warm", "cold")
    return X, target
