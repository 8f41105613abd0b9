"""PyTorch on the device that is measured, where it is installed."""

import importlib.util
import warnings

from bench.recorder import device_index

INSTALL = "PyTorch is not installed: pip install 'he-gpu[bench]'"


def absent(device):
    """Why PyTorch cannot run on a device, or None where it can."""
    if importlib.util.find_spec("torch") is None:
        return INSTALL
    torch = module()
    if device.startswith("cuda") and not torch.cuda.is_available():
        return f"this PyTorch ({torch.__version__}) finds no CUDA device"
    return None


def module():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an import that warns is none of our business
        import torch
    return torch


def place(device):
    """The device by PyTorch's name."""
    return f"cuda:{device_index(device)}" if device.startswith("cuda") else "cpu"
