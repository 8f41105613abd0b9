"""Layers, losses and optimisers with PyTorch's names, on secret and public arrays alike.

Layer: nn, above session, tensor and functions. `Variable` differentiates; modules hold parameters,
public until `share`; optimisers replace them. Any of model and data may be public or secret.

Example:
    >>> import numpy as np
    >>> import he_gpu as he
    >>> X, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]), np.array([[0], [1], [1], [0]])
    >>> model = he.nn.Sequential(
    ...     he.nn.Linear(2, 8, random_state=0), he.nn.ReLU(), he.nn.Linear(8, 1, random_state=1)
    ... )
    >>> with he.Session(device="cpu") as session:
    ...     model.share(session)
    ...     x, target = session.share(X), session.share(y)
    ...     loss_of, optimiser = he.nn.MSELoss(), he.nn.SGD(model.parameters(), lr=0.2)
    ...     for step in session.steps(120):
    ...         optimiser.zero_grad()
    ...         loss = loss_of(model(x), target)
    ...         loss.backward()
    ...         optimiser.step()
    ...     (model.eval()(x).reveal()[:, 0] > 0.5).astype(int).tolist()
    Sequential(
      (0): Linear(in_features=2, out_features=8, bias=True)
      (1): ReLU()
      (2): Linear(in_features=8, out_features=1, bias=True)
    )
    [0, 1, 1, 0]
"""

from he_gpu.nn.activations import GELU, ReLU, Sigmoid, Tanh
from he_gpu.nn.adam import Adam
from he_gpu.nn.convolution import Conv2d
from he_gpu.nn.dropout import Dropout
from he_gpu.nn.early_stopping import EarlyStopping
from he_gpu.nn.linear import Linear
from he_gpu.nn.losses import BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, MSELoss
from he_gpu.nn.metrics import accuracy, r2_score
from he_gpu.nn.module import Module, Parameter
from he_gpu.nn.normalisation import BatchNorm1d, BatchNorm2d, LayerNorm
from he_gpu.nn.pooling import AvgPool2d, MaxPool2d
from he_gpu.nn.pytorch import from_torch, to_torch
from he_gpu.nn.schedules import CosineAnnealingLR, ExponentialLR, LambdaLR, MultiStepLR, StepLR
from he_gpu.nn.sequential import Sequential
from he_gpu.nn.sgd import SGD
from he_gpu.nn.shapes import Flatten
from he_gpu.nn.tape import no_grad
from he_gpu.nn.trainer import Trainer
from he_gpu.nn.variable import Variable

__all__ = [
    "GELU",
    "SGD",
    "Adam",
    "AvgPool2d",
    "BCEWithLogitsLoss",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "CosineAnnealingLR",
    "CrossEntropyLoss",
    "Dropout",
    "EarlyStopping",
    "ExponentialLR",
    "Flatten",
    "L1Loss",
    "LambdaLR",
    "LayerNorm",
    "Linear",
    "MSELoss",
    "MaxPool2d",
    "Module",
    "MultiStepLR",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "StepLR",
    "Tanh",
    "Trainer",
    "Variable",
    "accuracy",
    "from_torch",
    "no_grad",
    "r2_score",
    "to_torch",
]
