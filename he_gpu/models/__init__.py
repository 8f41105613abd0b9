"""Estimators with scikit-learn's conventions, trained on secret tensors.

Layer: models, above session and tensor.
"""

from he_gpu.models.linear import LinearRegression, Ridge
from he_gpu.models.logistic import LogisticRegression
from he_gpu.models.mlp import MLPClassifier, MLPRegressor
from he_gpu.models.reservoir_classifier import ReservoirClassifier
from he_gpu.models.reservoir_regressor import ReservoirRegressor

__all__ = [
    "LinearRegression",
    "LogisticRegression",
    "MLPClassifier",
    "MLPRegressor",
    "ReservoirClassifier",
    "ReservoirRegressor",
    "Ridge",
]
