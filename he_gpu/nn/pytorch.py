"""Models from PyTorch and back to it; the one file that imports it.

Layer: nn, above all layers. Structure and public values are copied, nothing is traced.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from he_gpu.errors import ArgumentTypeError, ArgumentValueError
from he_gpu.nn.activations import GELU, ReLU, Sigmoid, Tanh
from he_gpu.nn.convolution import Conv2d
from he_gpu.nn.dropout import Dropout
from he_gpu.nn.linear import Linear
from he_gpu.nn.module import Module
from he_gpu.nn.normalisation import BatchNorm1d, BatchNorm2d, LayerNorm
from he_gpu.nn.pooling import AvgPool2d, MaxPool2d
from he_gpu.nn.sequential import Sequential
from he_gpu.nn.shapes import Flatten
from he_gpu.nn.values import is_secret

_ARGUMENTS: dict[str, tuple[type[Module], tuple[str, ...]]] = {
    "Linear": (Linear, ("in_features", "out_features")),
    "Conv2d": (
        Conv2d,
        ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups"),
    ),
    "ReLU": (ReLU, ()),
    "Sigmoid": (Sigmoid, ()),
    "Tanh": (Tanh, ()),
    "GELU": (GELU, ("approximate",)),
    "Flatten": (Flatten, ("start_dim", "end_dim")),
    "Dropout": (Dropout, ("p",)),
    "AvgPool2d": (AvgPool2d, ("kernel_size", "stride", "padding")),
    "MaxPool2d": (MaxPool2d, ("kernel_size", "stride", "padding")),
    "BatchNorm1d": (
        BatchNorm1d,
        ("num_features", "eps", "momentum", "affine", "track_running_stats"),
    ),
    "BatchNorm2d": (
        BatchNorm2d,
        ("num_features", "eps", "momentum", "affine", "track_running_stats"),
    ),
    "LayerNorm": (LayerNorm, ("normalized_shape", "eps", "elementwise_affine")),
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "Conv2d": {"padding_mode": "zeros"},
    "AvgPool2d": {"ceil_mode": False, "count_include_pad": True, "divisor_override": None},
    "MaxPool2d": {"ceil_mode": False, "dilation": 1, "return_indices": False},
}
"""What PyTorch's layers may say and those here cannot."""
_COUNT = "num_batches_tracked"


def from_torch(module: Any) -> Module:
    """Return a public copy of a PyTorch model, ready for `share`.

    Args:
        module: a Sequential, of Sequentials and of layers that `he_gpu.nn` has, or such a layer.

    Raises:
        TypeError: another layer, named with its place.
        ValueError: an argument of a layer that is not supported.

    Error: values are float64, so none.
    """
    torch = import_module("torch")
    if not isinstance(module, torch.nn.Module):
        raise ArgumentTypeError(
            f"from_torch: module must be a torch.nn.Module, got {type(module).__name__}"
        )
    copy = _built(module, torch, "")
    given = module.state_dict()
    counts = {name for name in given if name.split(".")[-1] == _COUNT}
    state = {
        name: np.asarray(value.detach().cpu().double().numpy())
        for name, value in given.items()
        if name not in counts
    }
    copy.load_state_dict(state)
    for name in counts:
        owner = _below(copy, name.split(".")[:-1])
        setattr(owner, _COUNT, int(given[name]))
    return copy.train(module.training)


def to_torch(module: Module) -> Any:
    """Return a PyTorch model with the same layers and values.

    Args:
        module: a Sequential, of Sequentials and layers, or a layer; its values must be public.

    Raises:
        TypeError: another module.
        ValueError: secret values: `reveal` them first.

    Error: values become float32, PyTorch's default.
    """
    torch = import_module("torch")
    state = module.state_dict()
    hidden = [name for name, value in state.items() if is_secret(value)]
    if hidden:
        raise ArgumentValueError(f"to_torch: values must be public, call reveal() first; {hidden}")
    copy = _rebuilt(module, torch, "")
    given = {name: torch.tensor(value, dtype=torch.float32) for name, value in state.items()}
    for name in copy.state_dict():
        if name.split(".")[-1] == _COUNT:
            given[name] = torch.tensor(_below(module, name.split(".")[:-1]).num_batches_tracked)
    copy.load_state_dict(given)
    return copy.train(module.training)


def _built(module: Any, torch: Any, path: str) -> Module:
    """Return a layer or Sequential with the structure of PyTorch's."""
    name = type(module).__name__
    if type(module) is torch.nn.Sequential:
        return Sequential(*(_built(m, torch, f"{path}.{at}") for at, m in enumerate(module)))
    if name not in _ARGUMENTS or type(module) is not getattr(torch.nn, name):
        raise ArgumentTypeError(
            f"from_torch: {name}{f' at {path[1:]}' if path else ''} has no counterpart in he_gpu.nn"
        )
    for argument, default in _DEFAULTS.get(name, {}).items():
        if getattr(module, argument) != default:
            raise ArgumentValueError(
                f"from_torch: {name}'s {argument} must be {default}, got "
                f"{getattr(module, argument)}"
            )
    kind, arguments = _ARGUMENTS[name]
    built: Module = _with_bias(kind, name, {key: getattr(module, key) for key in arguments}, module)
    return built


def _rebuilt(module: Module, torch: Any, path: str) -> Any:
    """Return PyTorch's layer or Sequential with the structure of ours."""
    name = type(module).__name__
    if type(module) is Sequential:
        inner = (_rebuilt(m, torch, f"{path}.{at}") for at, m in enumerate(module))
        return torch.nn.Sequential(*inner)
    if name not in _ARGUMENTS or type(module) is not _ARGUMENTS[name][0]:
        raise ArgumentTypeError(
            f"to_torch: {name}{f' at {path[1:]}' if path else ''} has no counterpart in torch.nn"
        )
    arguments = {key: getattr(module, key) for key in _ARGUMENTS[name][1]}
    return _with_bias(getattr(torch.nn, name), name, arguments, module)


def _with_bias(kind: Callable[..., Any], name: str, arguments: dict[str, Any], like: Any) -> Any:
    """Make a layer that has a bias where another one has."""
    if name in ("Linear", "Conv2d") or (name == "LayerNorm" and arguments["elementwise_affine"]):
        arguments["bias"] = like.bias is not None
    return kind(**arguments)


def _below(module: Module, path: list[str]) -> Any:
    """Return the module at a path of names."""
    found: Any = module
    for name in path:
        found = getattr(found, name)
    return found
