"""Devices for tests: what cannot run here is skipped with its reason.

HE_GPU_REQUIRE_EMULATOR=1, HE_GPU_REQUIRE_CUDA=1 and HE_GPU_REQUIRE_NVRTC=1 turn such a skip
into a failure, where the device or the compiler is expected. HE_GPU_EMULATOR_ARRAYS=strict gives
the emulator arrays that refuse what CuPy's refuse. Small rings, which hide nothing, are allowed in
tests.
"""

import os

import pytest

from he_gpu.backend import cuda, emulator, nvrtc
from tests.backend import strict

os.environ["HE_GPU_INSECURE_PARAMETERS"] = "1"

if os.environ.get("HE_GPU_EMULATOR_ARRAYS") == "strict":
    for place, attribute, value in strict.replacements():
        setattr(place, attribute, value)


def require(variable: str, reason: str | None) -> None:
    """Skip with a reason, or fail with it where the environment variable is 1."""
    if reason is None:
        return
    if os.environ.get(variable) == "1":
        pytest.fail(f"{variable}=1, but {reason}", pytrace=False)
    pytest.skip(reason)


def require_device(name: str) -> str:
    if name == "emulator":
        require("HE_GPU_REQUIRE_EMULATOR", emulator.probe())
    elif name == "cuda":
        require("HE_GPU_REQUIRE_CUDA", cuda.probe(0))
    return name


@pytest.fixture(params=["cpu", "emulator", "cuda"])
def device(request):
    """Name of a device, for `device=`."""
    return require_device(request.param)


@pytest.fixture(params=["emulator", "cuda"])
def kernel_device(request):
    """A device that launches kernels, the same object in every test."""
    require_device(request.param)
    return emulator.device() if request.param == "emulator" else cuda.device()


@pytest.fixture
def warpgroup_device(kernel_device):
    """A device that has products of warpgroups: of compute capability 9.0, or the emulator."""
    if kernel_device.name != "emulator" and not kernel_device.has_warpgroups:
        pytest.skip(f"{kernel_device.name} is not of compute capability 9.0 with NVRTC 12.9")
    return kernel_device


@pytest.fixture
def require_emulator():
    """The test needs the emulator and no other device."""
    require_device("emulator")


@pytest.fixture
def require_nvrtc():
    """The test needs the kernel compiler that works without a GPU."""
    require("HE_GPU_REQUIRE_NVRTC", nvrtc.probe())
