"""Estimators with scikit-learn's conventions, trained on secret tensors.

Layer: models, above session and tensor.
"""

from he_gpu.models.reservoir import ReservoirRegressor

__all__ = ["ReservoirRegressor"]
