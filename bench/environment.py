"""What a reader needs to judge the figures, and nothing that names the machine."""

import datetime as dt
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

import numpy as np

from bench.recorder import device_index
from he_gpu.backend import get_backend

HERE = Path(__file__).resolve().parent


def environment(device):
    """Device, driver, libraries, cores, commit and date."""
    backend = get_backend(device)
    facts = {
        "device": device,
        "cpu": cpu_model(),
        "cores": cores(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "blas": blas(),
        **openssl(),
        "torch": version("torch"),
        "seal": version("seal-python"),
        "commit": commit(),
        "date": dt.datetime.now(dt.timezone.utc).date().isoformat(),
    }
    if hasattr(backend.xp, "cuda"):
        runtime = backend.xp.cuda.runtime
        properties = runtime.getDeviceProperties(device_index(device))
        facts["gpu"] = properties["name"].decode()
        facts["multiprocessors"] = properties["multiProcessorCount"]
        facts["compute_capability"] = f"{properties['major']}.{properties['minor']}"
        facts["driver"] = driver()
        facts["cupy"] = backend.xp.__version__
        facts["cuda_driver"] = runtime.driverGetVersion()
        facts["cuda_runtime"] = runtime.runtimeGetVersion()
    return facts


def cpu_model():
    """The processor's name as the kernel has it, or what Python knows."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    names = [
        entry.partition(":")[2] for entry in text.splitlines() if entry.startswith("model name")
    ]
    return names[0].strip() if names else platform.machine()


def cores():
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def blas():
    """Name and version of NumPy's BLAS, as NumPy was built with it."""
    found = np.show_config(mode="dicts")["Build Dependencies"]["blas"]
    return f"{found.get('name')} {found.get('version')}"


def openssl():
    """Versions of cryptography and of the OpenSSL in it; None where it is absent."""
    try:
        import cryptography
        from cryptography.hazmat.backends.openssl import backend
    except ImportError:
        return {"cryptography": None}
    return {"cryptography": cryptography.__version__, "openssl": backend.openssl_version_text()}


def version(package):
    """Version of an installed package, or None."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def driver():
    """Version of NVIDIA's driver, or None where neither the kernel nor nvidia-smi tells."""
    try:
        words = Path("/proc/driver/nvidia/version").read_text().split()
    except OSError:
        words = []
    versions = [word for word in words if word.count(".") and word.replace(".", "").isdecimal()]
    if versions:
        return versions[0]
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.split()[0] if done.returncode == 0 and done.stdout.split() else None


def commit():
    """The commit measured, with a plus where the tree differs from it.

    Outside git what the variable HE_GPU_COMMIT says, or None. Results that an earlier suite of the
    same run has written do not count as a difference.
    """

    def git(*arguments):
        done = subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    try:
        name = git("rev-parse", "--short=12", "HEAD")
        changed = git(
            "status", "--porcelain", "--untracked-files=no", "--", "..", ":(exclude)results"
        )
    except OSError:
        name = changed = None
    return name + ("+" if changed else "") if name else os.environ.get("HE_GPU_COMMIT")
