"""Vectors of the ring layer, computed by SymPy: transforms, other primes, automorphisms, rescaling.

``python tests/vectors/ring_sympy.py`` writes ``ntt_sympy.json`` and ``rns_sympy.json`` anew; it
needs SymPy alone and imports nothing of he_gpu.
"""

import json
import math
import random
from pathlib import Path

import sympy
from sympy.abc import x
from sympy.discrete.transforms import ntt
from sympy.ntheory.modular import crt

FOLDER = Path(__file__).parent
TRANSFORMS = ((97, 16), (786433, 64), (132120577, 256))
"""Primes and ring degrees."""
DEGREE = 16
MODULI, OTHERS = (132120577, 65929217, 786433), (130809857, 2752513)
POWERS = (3, -1, 5, 31, 13)


def operand(rng, n, modulus):
    """Random residues, of which an eighth are 0 or the largest."""
    words = [rng.randrange(modulus) for _ in range(n)]
    for at in rng.sample(range(n), n // 8):
        words[at] = rng.choice((0, modulus - 1))
    return words


def polynomial(coefficients, **domain):
    """A SymPy polynomial from its coefficients, the constant first."""
    return sympy.Poly(coefficients[::-1], x, **domain)


def remainder(value, n, **domain):
    """Coefficients modulo x^n + 1, as Python ints."""
    rest = value.rem(sympy.Poly(x**n + 1, x, **domain)).all_coeffs()[::-1]
    return [int(c) for c in rest] + [0] * (n - len(rest))


def transforms(seed=7):
    """Values at the odd powers of a root of unity of order 2 N, and products modulo x^N + 1."""
    rng, cases = random.Random(seed), []
    for modulus, n in TRANSFORMS:
        a, b = operand(rng, n, modulus), operand(rng, n, modulus)
        root = pow(sympy.primitive_root(modulus), (modulus - 1) // (2 * n), modulus)
        domain = {"modulus": modulus}
        product = remainder(polynomial(a, **domain) * polynomial(b, **domain), n, **domain)
        cases.append(
            {
                "modulus": modulus,
                "root": int(root),
                "a": a,
                "b": b,
                "values": [int(v) for v in ntt(a + [0] * n, modulus)[1::2]],
                "product": [c % modulus for c in product],
            }
        )
    return {
        "tool": "SymPy, sympy.discrete.transforms.ntt and sympy.Poly.rem",
        "version": sympy.__version__,
        "command": "python tests/vectors/ring_sympy.py",
        "seed": seed,
        "cases": cases,
    }


def residues(seed=8):
    """Integers by the Chinese remainder theorem, and what becomes of them."""
    rng, product = random.Random(seed), math.prod(MODULI)
    # The next two are as close to half the modulus as an extension is exact.
    edge = product // 2 - product // 2**30
    first = (0, -1, 1, edge, -edge)
    rows = [[e % q for e in first] + operand(rng, DEGREE - len(first), q) for q in MODULI]
    integers = []
    for words in zip(*rows, strict=True):
        value = int(crt(MODULI, words)[0])
        integers.append(value if 2 * value < product else value - product)
    value = polynomial(integers)
    automorphisms = {}
    for power in POWERS:
        moved = value.as_expr().subs(x, x ** (power % (2 * DEGREE)))
        automorphisms[power] = remainder(sympy.Poly(moved, x), DEGREE)
    half, rounded = sympy.Rational(1, 2), {}
    for count in (1, 2):
        divisor = math.prod(MODULI[-count:])
        rounded[count] = [int(sympy.floor(sympy.Rational(v, divisor) + half)) for v in integers]
    return {
        "tool": "SymPy, sympy.ntheory.modular.crt, sympy.Poly.rem and sympy.Rational",
        "version": sympy.__version__,
        "command": "python tests/vectors/ring_sympy.py",
        "seed": seed,
        "moduli": MODULI,
        "others": OTHERS,
        "residues": rows,
        "integers": integers,
        "extended": [[int(sympy.Mod(v, p)) for v in integers] for p in OTHERS],
        "automorphisms": automorphisms,
        "rounded": rounded,
    }


def text(vectors):
    """JSON in which each list of numbers has a line of its own."""

    def lines(value, indent):
        if isinstance(value, dict):
            brackets = "{}"
            parts = [f"{json.dumps(str(k))}: {lines(v, indent + 1)}" for k, v in value.items()]
        elif isinstance(value, list) and isinstance(value[0], list | dict):
            brackets, parts = "[]", [lines(v, indent + 1) for v in value]
        else:
            return json.dumps(value)
        space = "\n" + " " * (indent + 1)
        return brackets[0] + space + f",{space}".join(parts) + space[:-1] + brackets[1]

    return lines(vectors, 0) + "\n"


VECTORS = {"ntt_sympy.json": transforms, "rns_sympy.json": residues}

if __name__ == "__main__":
    for name, make in VECTORS.items():
        (FOLDER / name).write_text(text(make()), encoding="utf-8")
