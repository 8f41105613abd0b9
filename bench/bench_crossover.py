"""From where on each kernel of the matrix product beats the others, on a GPU.

With `--write-crossovers` (`make crossovers`) the numbers go into the dispatcher's table,
``he_gpu/backend/device/crossovers.py``; times on the cpu or the emulator would say nothing.
"""

import time
from pathlib import Path

import numpy as np
import pytest

import he_gpu as he
from bench.crossovers import (
    BUSY,
    FEW_LIMBS,
    MODULI,
    RESIDUE_RIVALS,
    RESIDUE_WALKS,
    THIN,
    TILED,
    WALKS,
    first_win,
    last_win,
    rewrite,
)
from bench.operands import words
from bench.recorder import synchronise, write_whole
from he_gpu.backend.device import crossovers, matmul, splits

SECONDS = 0.03
"""For one kernel on one shape."""
BATCHES = 5


@pytest.fixture(scope="module")
def found(request, backend):
    """Numbers by name, and at the end the table."""
    if not hasattr(backend.xp, "cuda"):
        pytest.skip(f"kernels are timed on a GPU, not on {backend.name}")
    numbers = {}
    yield numbers
    if request.config.getoption("write_crossovers"):
        limb = {
            name: crossovers.Crossover(*(numbers[name, number] for number in WALKS))
            for name in MODULI
        }
        residue = {
            name: crossovers.ResidueCrossover(
                *(numbers["residue", name, number] for number in RESIDUE_WALKS)
            )
            for name in RESIDUE_RIVALS
            if ("residue", name, "side") in numbers
        }
        path = Path(crossovers.__file__)
        source = path.read_text(encoding="utf-8")
        write_whole(path, rewrite(source, numbers["thin"], numbers["busy_blocks"], limb, residue))


def race(backend, modulus, shape, kernels, seconds=SECONDS):
    """Return the seconds of each kernel on one product, after a check that all agree."""
    m, k, n = shape
    rng = np.random.default_rng(0)
    ring = he.Ring(modulus, device=backend.name)
    a, b = (ring.asarray(words(rng, modulus, part)) for part in ((m, k), (k, n)))
    results, times = [], {}
    for kernel in kernels:
        with matmul.forced(kernel), splits.forced(1):  # the table counts parts of sums as results
            results.append(backend.matmul(a, b, modulus))
            times[kernel] = one(backend, lambda: backend.matmul(a, b, modulus), seconds)
    for result in results[1:]:
        assert (result == results[0]).all()
    return times


def one(backend, job, seconds):
    """Return the seconds of one call among many, the median of some batches."""
    synchronise(backend)
    start = time.perf_counter()
    job()
    synchronise(backend)
    calls = max(1, int(seconds / BATCHES / (time.perf_counter() - start)))
    batches = []
    for _ in range(BATCHES):
        start = time.perf_counter()
        for _ in range(calls):
            job()
        synchronise(backend)
        batches.append((time.perf_counter() - start) / calls)
    return float(np.median(batches))


def walk(backend, modulus, shapes, challenger, others):
    """Return the challenger's time over the best of the others, for each shape."""
    ratios = []
    for shape in shapes:
        times = race(backend, modulus, shape, (challenger, *others))
        ratios.append(times[challenger] / min(times[kernel] for kernel in others))
    return ratios


@pytest.mark.parametrize("number", WALKS)
@pytest.mark.parametrize("name", MODULI)
def test_limb(name, number, found, backend, record):
    sizes, shapes = WALKS[number]

    def measure():
        ratios = walk(backend, MODULI[name], shapes, "matmul_limb", TILED[:2])
        found[name, number] = first_win(sizes, ratios)
        return {"from": found[name, number], "limb over tiled": ratios_of(WALKS[number], ratios)}

    record.check(f"byte limbs for {name}, by {number}", measure, kernel=name)


@pytest.mark.parametrize("number", RESIDUE_WALKS)
@pytest.mark.parametrize("name", RESIDUE_RIVALS)
def test_residues(name, number, found, backend, warpgroups, record):
    sizes, shapes = RESIDUE_WALKS[number]
    modulus, rivals = RESIDUE_RIVALS[name]
    own = "matmul_warpgroup" if warpgroups else "matmul_residue"
    if name in FEW_LIMBS and not warpgroups:
        pytest.skip(f"{name} goes by limbs on {backend.name}")

    def measure():
        ratios = walk(backend, modulus, shapes, own, rivals)
        found["residue", name, number] = first_win(sizes, ratios)
        return {
            "from": found["residue", name, number],
            "residues over others": ratios_of(RESIDUE_WALKS[number], ratios),
        }

    record.check(f"residues for {name}, by {number}", measure, kernel=name)


def test_thin(found, backend, record):
    def measure():
        ratios = walk(backend, 2**64, THIN.shapes, "matmul_thin", TILED[:2])
        found["thin"] = last_win(THIN.sizes, ratios)
        return {"up to": found["thin"], "thin over tiled": ratios_of(THIN, ratios)}

    record.check("one column to a block, by columns", measure)


def test_busy_blocks(found, backend, record):
    def measure():
        ratios = walk(backend, 2**64, BUSY.shapes, "matmul", ("matmul_small",))
        found["busy_blocks"] = first_win(BUSY.sizes, ratios)
        return {"from": found["busy_blocks"], "large over small": ratios_of(BUSY, ratios)}

    record.check("tiles of 64 against 32, by tiles of 64", measure)


def ratios_of(steps, ratios):
    return dict(zip(map(str, steps.sizes), ratios, strict=True))
