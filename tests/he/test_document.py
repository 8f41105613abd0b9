"""docs/ckks.md says what the parameters choose."""

from he_gpu.he.parameters import CkksParams
from tests.he.parameter_table import BEGIN, DEPTHS, DOCUMENT, written


def test_the_table_is_what_parameters_choose():
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text.count(BEGIN) == 1
    assert text == written(text), "run python -m tests.he.parameter_table"


def test_the_table_reaches_every_ring_degree_from_4096():
    assert {CkksParams(depth).ring_degree for depth in DEPTHS} == {2**log for log in range(12, 17)}
