"""The table of docs/ckks.md: what parameters choose for a depth.

``python -m tests.he.parameter_table`` writes it anew.
"""

from pathlib import Path

import he_gpu as he
from he_gpu.he.security import modulus_bits

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "ckks.md"
BEGIN = "<!-- tests/he/parameter_table.py writes from here -->"
END = "<!-- parameters to here -->"
DEPTHS = (0, 1, 2, 3, 4, 6, 8, 10, 12, 16, 20, 24, 28, 32)
TITLES = ("depth", "N", "slots", "log2 QP", "allowed", "primes", "digits", "bits right")


def row(depth):
    """What is chosen for a depth with scale_bits=40 and security=128."""
    params = he.CkksParams(depth)
    chain = params.chain
    return (
        depth,
        params.ring_degree,
        params.n_slots,
        f"{params.modulus_bits:.1f}",
        modulus_bits(params.ring_degree, params.security),
        len(chain.moduli(depth)) + len(chain.special),
        params.n_digits,
        f"{params.precision_bits:.1f}",
    )


def table():
    lines = [TITLES, ["---:"] * len(TITLES), *map(row, DEPTHS)]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def written(text):
    """Return a document's text with the table between its markers."""
    before, rest = text.split(BEGIN)
    after = rest.split(END, 1)[1]
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(written(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
