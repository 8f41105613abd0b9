"""How crossovers follow from ratios, and how they get into the dispatcher's table."""

import importlib.util
import re
from pathlib import Path

import pytest

from bench import crossovers
from bench.bench_crossover import race, walk
from bench.crossovers import (
    BUSY,
    MODULI,
    RESIDUE_RIVALS,
    RESIDUE_WALKS,
    THIN,
    WALKS,
    first_win,
    last_win,
    rewrite,
)
from he_gpu.backend import get_backend
from he_gpu.backend.device import crossovers as table
from he_gpu.backend.device.crossovers import Crossover, ResidueCrossover
from tests.conftest import require_device

SOURCE = Path(table.__file__).read_text(encoding="utf-8")
SIZES = (8, 16, 32, 64)


@pytest.mark.parametrize(
    ("ratios", "first", "last"),
    [
        ((0.5, 0.6, 0.7, 0.8), 8, 64),
        ((2.0, 0.6, 0.7, 0.8), 16, 0),
        ((0.5, 1.5, 0.7, 0.8), 32, 8),
        ((0.5, 0.5, 0.7, 1.1), 128, 32),
        ((1.5, 1.5, 1.5, 1.02), 64, 0),
        ((1.5, 1.5, 1.5, float("nan")), 128, 0),
    ],
)
def test_a_crossover_is_where_winning_stays(ratios, first, last):
    assert first_win(SIZES, ratios) == first
    assert last_win(SIZES, ratios) == last


def test_walks_vary_one_number():
    for walked in (*WALKS.values(), *RESIDUE_WALKS.values(), THIN, BUSY):
        assert list(walked.sizes) == sorted(set(walked.sizes))
        assert len(walked.sizes) == len(walked.shapes)
    for name, count in {
        "side": lambda m, k, n: min(m, n),
        "depth": lambda m, k, n: k,
        "results": lambda m, k, n: m * n,
    }.items():
        for walks in (WALKS, RESIDUE_WALKS):
            assert [count(*shape) for shape in walks[name].shapes] == list(walks[name].sizes)
    assert tuple(WALKS) == Crossover._fields
    assert tuple(RESIDUE_WALKS) == ResidueCrossover._fields
    assert [n for _, _, n in THIN.shapes] == list(THIN.sizes)
    assert [-(-m // 64) * -(-n // 64) for m, _, n in BUSY.shapes] == list(BUSY.sizes)
    assert set(MODULI) == set(table.LIMB_CROSSOVERS)
    assert set(RESIDUE_RIVALS) == set(table.RESIDUE_CROSSOVERS)


def test_the_table_is_rewritten_and_nothing_else(tmp_path):
    limb = {name: Crossover(48 + i, 96, 3 * 2**10) for i, name in enumerate(MODULI)}
    limb["mod_u64"] = Crossover(24, 16, 2**15)
    residue = {name: ResidueCrossover(640, 96 + i, 2**22) for i, name in enumerate(RESIDUE_RIVALS)}
    path = tmp_path / "rewritten.py"
    path.write_text(rewrite(SOURCE, 12, 99, limb, residue), encoding="utf-8")
    spec = importlib.util.spec_from_file_location("rewritten", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (module.THIN, module.BUSY_BLOCKS) == (12, 99)
    assert {name: tuple(bound) for name, bound in module.LIMB_CROSSOVERS.items()} == limb
    assert {name: tuple(bound) for name, bound in module.RESIDUE_CROSSOVERS.items()} == residue
    assert "measured by ``bench/bench_crossover.py``" in module.__doc__
    assert "not measured" not in module.__doc__
    assert "results=2**15)" in path.read_text(encoding="utf-8")
    again = rewrite(path.read_text(encoding="utf-8"), 12, 99, limb, residue)
    assert again == path.read_text(encoding="utf-8")
    numbers = re.compile(r"\d+(\*\*\d+)?")
    code = SOURCE.index("from __future__")
    rewritten = again.index("from __future__")
    assert numbers.sub("", again[rewritten:]) == numbers.sub("", SOURCE[code:])


def test_a_table_without_a_number_is_refused():
    with pytest.raises(ValueError, match="must hold 'THIN = 1' once, got 0"):
        rewrite(SOURCE.replace("THIN =", "THICK ="), 1, 2, {}, {})
    with pytest.raises(ValueError, match="once, got 0"):
        rewrite(SOURCE, 1, 2, {"ring_u128": Crossover(1, 1, 1)}, {})


def test_a_race_times_each_kernel_on_one_product():
    require_device("emulator")
    backend = get_backend("emulator")
    kernels = ("matmul_residue", "matmul_limb", *crossovers.TILED)
    times = race(backend, 2**64, (3, 5, 4), kernels, seconds=0)
    assert set(times) == set(kernels)
    assert all(value > 0 for value in times.values())
    ratios = walk(backend, 2**32, [(2, 3, 2), (1, 1, 1)], "matmul_thin", ("matmul",))
    assert len(ratios) == 2
    assert all(ratio > 0 for ratio in ratios)
