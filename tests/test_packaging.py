"""The wheel holds every source that he_gpu needs at run time, and works installed alone."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGED = ("pyproject.toml", "MANIFEST.in", "README.md", "LICENSE", "he_gpu", "kernels")
SUFFIXES = {".py", ".typed", ".cu", ".cuh", ".h", ".hpp", ".cpp"}

USE_ALONE = """
import sys
from importlib.resources import files
import he_gpu as he

assert he.__file__.startswith(sys.argv[1]), he.__file__
assert any(entry.name.endswith(".cu") for entry in files("he_gpu.kernels").iterdir())
x, y = he.encrypt([2, 2]), he.encrypt([5, -1])
print(he.decrypt(*he.add(x, y)).tolist())
ring = he.Ring(2**64, device=sys.argv[2])
a = ring.asarray([2**64 - 1, 3])
print(ring.to_numpy(ring.add(a, a)).tolist())
"""


def run(command: list[str], cwd: Path, **variables: str) -> str:
    """Run a command that must succeed, away from the checkout; return what it printed."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=env | variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def packaged_files() -> dict[str, Path]:
    """Return where each source of the checkout belongs in the wheel."""
    places = {}
    for top, prefix in (("he_gpu", "he_gpu"), ("kernels", "he_gpu/kernels")):
        for path in (ROOT / top).rglob("*"):
            if path.suffix in SUFFIXES and "__pycache__" not in path.parts:
                places[f"{prefix}/{path.relative_to(ROOT / top).as_posix()}"] = path
    return places


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the source archive, and the wheel from it, with the tools of this environment."""
    pytest.importorskip("build", reason="the package build is not installed: pip install build")
    try:
        version = importlib.metadata.version("setuptools")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("setuptools is not installed: pip install 'setuptools>=77'")
    if int(version.split(".")[0]) < 77:
        pytest.skip(f"setuptools {version} cannot read the licence field: it takes 77 or newer")
    source = tmp_path_factory.mktemp("source")
    for name in PACKAGED:
        if (ROOT / name).is_dir():
            shutil.copytree(
                ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "*.so")
            )
        else:
            shutil.copy(ROOT / name, source / name)
    out = tmp_path_factory.mktemp("wheel")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out)], cwd=source)
    (built,) = out.glob("he_gpu-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel alone into an empty folder."""
    pytest.importorskip("pip", reason="this Python has no pip to install the wheel with")
    target = tmp_path_factory.mktemp("installed")
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    run([sys.executable, "-m", "pip", *install, "--target", str(target), str(wheel)], cwd=target)
    return target


def test_wheel_holds_every_source_unchanged(wheel: Path) -> None:
    expected = packaged_files()
    with zipfile.ZipFile(wheel) as archive:
        inside = {n for n in archive.namelist() if ".dist-info/" not in n}
        assert inside == set(expected)
        changed = [n for n, path in expected.items() if archive.read(n) != path.read_bytes()]
    assert changed == []


def test_wheel_holds_kernels_and_emulator(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    assert any(re.fullmatch(r"he_gpu/kernels/\w+\.cu", name) for name in names)
    assert any(re.fullmatch(r"he_gpu/kernels/\w+\.cuh", name) for name in names)
    assert any(re.match(r"he_gpu/backend/emulator/.*\.(h|hpp|cpp)$", name) for name in names)


def test_wheel_states_licence_python_and_command(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (info,) = {n.split("/")[0] for n in archive.namelist() if ".dist-info/" in n}
        metadata = archive.read(f"{info}/METADATA").decode()
        commands = archive.read(f"{info}/entry_points.txt").decode()
        assert f"{info}/licenses/LICENSE" in archive.namelist()
    assert "License-Expression: Apache-2.0" in metadata
    assert re.search(r"^Requires-Python: (<3\.14,>=3\.10|>=3\.10,<3\.14)$", metadata, re.MULTILINE)
    for extra in ("cuda12", "cuda13", "plot", "test", "nvrtc", "seal", "dev"):
        assert f"Provides-Extra: {extra}\n" in metadata
    assert "he-gpu = he_gpu.cli:main" in commands


def use_alone(installed: Path, cwd: Path, device: str) -> None:
    out = run(
        [sys.executable, "-W", "error", "-c", USE_ALONE, str(installed), device],
        cwd=cwd,
        PYTHONPATH=str(installed),
        HE_GPU_CACHE_DIR=str(cwd / "cache"),
    )
    assert out.splitlines() == ["[7, 1]", f"[{2**64 - 2}, 6]"]


def test_installed_wheel_works_alone(installed: Path, tmp_path: Path) -> None:
    use_alone(installed, tmp_path, "cpu")


@pytest.mark.usefixtures("require_emulator")
def test_installed_wheel_compiles_its_kernels(installed: Path, tmp_path: Path) -> None:
    use_alone(installed, tmp_path, "emulator")


def test_installed_command_runs(installed: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(installed / "bin" / "he-gpu"), "xor", "--device", "cpu"]
    out = run([*command, "--steps", "250"], cwd=tmp_path, PYTHONPATH=str(installed))
    assert "predictions: 0 1 1 0" in out.splitlines()
