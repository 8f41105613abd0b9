"""Random circuits on ciphertexts beside the same on numbers: all operators, mixed levels and sizes.

    python -m bench.circuits --ring-degree 8192 --depth 3 --circuits 1000

A circuit begins with some encryptions and takes operations on its latest results until the chain's
levels are spent. The numbers go along in NumPy's longdouble, all N / 2 slots of them, so that
rotations show what stands behind a vector. Every result's error must be within the bound that the
ciphertext states, its values within the size. `bench_ckks_circuits` keeps what is found.
"""

import argparse
import math
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from he_gpu.errors import RangeError
from he_gpu.he import noise
from he_gpu.he.ciphertext import Ciphertext
from he_gpu.he.context import Ckks
from he_gpu.he.diagonals import rotations_for
from he_gpu.he.parameters import CkksParams

RECENT = 5
"""Results that operands are taken from."""
LATEST = 0.75
"""How often the left operand is the result before, so that levels are spent one after another."""
SPENDING = 0.7
"""How often an operation that takes a level is tried, where there is a level."""
SHORT = 9
"""Values of a short vector, below; matrices are of short vectors, for they take many keys."""
STEPS = (1, -1, 3, 64)
LARGE = 2.0**8
"""Size from which values are scaled down, so that squares of squares do not outgrow float64."""
DEGREES = (1, 2, 3, 4, 7)
"""Of polynomials: sizes of results are bounded by sums of coefficients, so longer ones say less."""
SIZES = 2.0**-44
"""Relative rounding of sizes, which are products and sums in float64."""
DEVIATION = 64 * float(np.finfo(np.longdouble).eps)
"""What the numbers that go along may be off, relative to the size of a result."""


class Pair(NamedTuple):
    """A ciphertext and its N / 2 slots as numbers, NaN where a sum has left what nobody wants."""

    ciphertext: Ciphertext
    slots: np.ndarray

    @property
    def n(self):
        return len(self.ciphertext)


@dataclass
class Tally:
    """What circuits have shown.

    Attributes:
        circuits: how many.
        results: results that were compared.
        beyond: those whose error is beyond the bound, or a value beyond the size.
        spent: circuits with a result at level 0.
        refused: operations that were refused because a result might wrap around the modulus.
        operations: how often each was taken.
        levels: results at each level.
        worst: the largest error over its bound, at each level.
        found: what is wrong, in words, errors that were raised included.
    """

    circuits: int = 0
    results: int = 0
    beyond: int = 0
    spent: int = 0
    refused: int = 0
    operations: Counter = field(default_factory=Counter)
    levels: Counter = field(default_factory=Counter)
    worst: dict = field(default_factory=dict)
    found: list = field(default_factory=list)

    def facts(self):
        """Everything that a row of results has."""
        return {
            "circuits": self.circuits,
            "results": self.results,
            "beyond_bound": self.beyond,
            "largest_share_of_bound": max(self.worst.values()),
            "largest_share_at_level_0": self.worst.get(0, 0.0),
            "circuits_to_level_0": self.spent,
            "refused": self.refused,
            "least_taken": min(self.operations[name] for name in OPERATIONS),
        }

    def check(self, name, pair, decrypted):
        """Compare a result with its numbers."""
        ciphertext, n = pair.ciphertext, pair.n
        expected = pair.slots[:n]
        error = float(np.abs(decrypted - expected).max(initial=0.0))
        largest = float(np.nanmax(np.abs(pair.slots)))
        decoding = noise.transform(ciphertext.size + ciphertext.error, 2 * len(pair.slots))
        allowance = DEVIATION * ciphertext.size
        self.results += 1
        self.levels[ciphertext.level] += 1
        share = error / ciphertext.error
        self.worst[ciphertext.level] = max(share, self.worst.get(ciphertext.level, 0.0))
        wrong = []
        if not error <= ciphertext.error + decoding + allowance:
            wrong.append(f"error {error:.3g}, bound {ciphertext.error:.3g}")
        if not largest <= ciphertext.size * (1 + SIZES):
            wrong.append(f"size {largest:.6g}, bound {ciphertext.size:.6g}")
        if ciphertext.is_real and np.iscomplexobj(decrypted):
            wrong.append("complex values of a real vector")
        if decrypted.shape != (n,):
            wrong.append(f"shape {decrypted.shape}, length {n}")
        if wrong:
            self.beyond += 1
            self.found.append(f"{name}: {'; '.join(wrong)}")


# Operations: each takes the generator, a circuit and two pairs, and returns a pair, or None where
# it does not apply. Those of `SPENDING_LEVELS` take a level or more.


def add(rng, circuit, a, b):
    return _binary(a, b, lambda x, y: x + y)


def subtract(rng, circuit, a, b):
    return _binary(a, b, lambda x, y: x - y)


def negate(rng, circuit, a, b):
    return circuit.pair(-a.ciphertext, -a.slots)


def add_number(rng, circuit, a, b):
    number, slots = circuit.number(rng), a.slots.copy()
    slots[: a.n] += number
    return circuit.pair(a.ciphertext + number, slots)


def subtract_from_vector(rng, circuit, a, b):
    vector, slots = circuit.values(rng, a.n), -a.slots
    slots[: a.n] += vector
    return circuit.pair(vector - a.ciphertext, slots)


def multiply_by_integer(rng, circuit, a, b):
    factor = int(rng.integers(-3, 4))
    return circuit.pair(factor * a.ciphertext, factor * a.slots)


def rotate(rng, circuit, a, b):
    if a.ciphertext.leftovers:
        return None
    step = int(rng.choice(circuit.steps))
    return circuit.pair(a.ciphertext.rotate(step), np.roll(a.slots, -step))


def rotate_many(rng, circuit, a, b):
    if a.ciphertext.leftovers:
        return None
    steps = rng.choice(circuit.steps, 2).tolist()
    moved = a.ciphertext.rotations(steps)
    slots = [np.roll(a.slots, -step) for step in steps]
    return circuit.pair(moved[0] - moved[1], slots[0] - slots[1])


def conjugate(rng, circuit, a, b):
    return circuit.pair(a.ciphertext.conjugate(), a.slots.conj())


def total(rng, circuit, a, b):
    return _summed(circuit, a.ciphertext.sum(), a)


def lower(rng, circuit, a, b):
    level = max(0, a.ciphertext.level - int(rng.integers(1, 3)))
    return circuit.pair(a.ciphertext.at_level(level), a.slots)


def serialize(rng, circuit, a, b):
    return circuit.pair(circuit.holder.load_ciphertext(a.ciphertext.serialize()), a.slots)


def multiply(rng, circuit, a, b):
    if b.ciphertext.level == 0:
        return None
    return _binary(a, b, lambda x, y: x * y)


def square(rng, circuit, a, b):
    return circuit.pair(a.ciphertext * a.ciphertext, a.slots * a.slots)


def multiply_by_number(rng, circuit, a, b):
    number = circuit.number(rng)
    return circuit.pair(a.ciphertext * number, a.slots * number)


def scale_down(rng, circuit, a, b):
    return circuit.pair(a.ciphertext / a.ciphertext.size, a.slots / a.ciphertext.size)


def multiply_by_vector(rng, circuit, a, b):
    vector, slots = circuit.values(rng, a.n), np.zeros_like(a.slots)
    slots[: a.n] = a.slots[: a.n] * vector
    return circuit.pair(vector * a.ciphertext, slots)


def matrix_times(rng, circuit, a, b):
    if a.n > SHORT:
        return None
    rows = int(rng.integers(1, SHORT + 1))
    matrix = circuit.values(rng, rows * a.n).reshape(rows, a.n) / a.n
    return circuit.pair(matrix @ a.ciphertext, circuit.padded(matrix @ a.slots[: a.n]))


def times_matrix(rng, circuit, a, b):
    if a.n > SHORT:
        return None
    columns = int(rng.integers(1, SHORT + 1))
    matrix = circuit.values(rng, a.n * columns).reshape(a.n, columns) / a.n
    return circuit.pair(a.ciphertext @ matrix, circuit.padded(a.slots[: a.n] @ matrix))


def inner(rng, circuit, a, b):
    if b.ciphertext.level == 0:
        return None
    return _summed(circuit, a.ciphertext @ b.ciphertext, multiply(rng, circuit, a, b))


def divide(rng, circuit, a, b):
    divisor, slots = 1 + rng.random(a.n if rng.random() < 0.5 else None), a.slots.copy()
    slots[: a.n] /= divisor
    slots[a.n :] = 0 if np.ndim(divisor) else slots[a.n :] / divisor
    return circuit.pair(a.ciphertext / divisor, slots)


def power(rng, circuit, a, b):
    exponent = int(rng.integers(1, min(7, 2**a.ciphertext.level) + 1))
    return circuit.pair(a.ciphertext**exponent, a.slots**exponent)


def polynomial(rng, circuit, a, b):
    degree, size = _degree(rng, a.ciphertext.level), max(1.0, a.ciphertext.size)
    coefficients = circuit.values(rng, degree + 1) / size ** np.arange(degree + 1)
    slots = _polynomial(a.slots, coefficients)
    if a.ciphertext.span <= a.n or not coefficients[1:].any():
        slots[a.n :] = 0
    return circuit.pair(a.ciphertext.polynomial(coefficients), slots)


def chebyshev(rng, circuit, a, b):
    x, n = a.ciphertext, a.n
    end = x.size or 1.0
    low, high = -end, end * float(rng.choice([1.0, 1.5]))
    # A product with 2 / (high - low) comes first, but for an integer and zeros behind the vector.
    spare = 0 if (2 / (high - low)).is_integer() and x.span <= n else 1
    if not x.is_real or x.level == spare:
        return None
    coefficients = rng.uniform(-1, 1, 1 + _degree(rng, x.level - spare))
    slots, place = np.zeros_like(a.slots), 2 * (a.slots[:n] - low) / (high - low) - 1
    slots[:n] = _chebyshev(place, coefficients)
    return circuit.pair(x.chebyshev(coefficients, (low, high)), slots)


FREE = (
    *(add, subtract, negate, add_number, subtract_from_vector, multiply_by_integer, rotate),
    *(rotate_many, conjugate, total, lower, serialize),
)
SPENDING_LEVELS = (
    *(multiply, multiply, multiply, square, multiply_by_number, multiply_by_vector),
    *(divide, matrix_times, times_matrix, inner, power, polynomial, *2 * (chebyshev,)),
)
OPERATIONS = tuple(dict.fromkeys(f.__name__ for f in (*FREE, *SPENDING_LEVELS, scale_down)))


class Circuits:
    """Circuits under one set of keys.

    Args:
        params: parameters of CKKS.
        device: where they run.
        seed: of the keys; None takes the operating system's randomness.
    """

    def __init__(self, params, device="cpu", seed=None):
        self.holder = Ckks(params, device, seed)
        self.slots = params.n_slots
        self.depth = params.depth
        self.steps = [step for step in STEPS if abs(step) < self.slots] + [self.slots // 2]
        short = {r for n in range(1, SHORT + 1) for r in rotations_for((n, SHORT), self.slots)}
        powers = {2**k for k in range(self.slots.bit_length() - 1)}
        self.party = self.holder.public(rotations=sorted(short | powers | {-p for p in powers}))
        self.length = 2 * self.depth + 8
        self.is_real = True

    def run(self, seeds, tally=None):
        """Take the circuits of some seeds and return what they have shown."""
        tally = tally or Tally()
        for seed in seeds:
            self._run_one(seed, tally)
        return tally

    def pair(self, ciphertext, slots):
        """A pair, with NaN in slots that have parts of sums."""
        slots = np.array(slots, np.clongdouble)
        if ciphertext.leftovers:
            slots[len(ciphertext) :] = np.nan
        return Pair(ciphertext, slots)

    def padded(self, values):
        """Values followed by zeros."""
        slots = np.zeros(self.slots, np.clongdouble)
        slots[: len(values)] = values
        return slots

    def number(self, rng):
        """A plain number below 1 in size."""
        number = rng.uniform(-1, 1)
        if self.is_real or rng.random() < 0.5:
            return float(number)
        return complex(number, rng.uniform(-1, 1)) / 2

    def values(self, rng, n):
        """n plain numbers of size 1 at most, spread or as large as they can be."""
        kind = rng.integers(4 if self.is_real else 6)
        if kind == 0:
            return rng.choice([-1.0, 1.0], n)
        if kind == 1:
            return np.full(n, rng.uniform(-1, 1))
        if kind == 2:
            return np.eye(1, n, int(rng.integers(n)))[0]
        if kind == 3:
            return rng.uniform(-1, 1, n)
        if kind == 4:
            return rng.uniform(-0.7, 0.7, n) + 1j * rng.uniform(-0.7, 0.7, n)
        return np.exp(2j * np.pi * rng.random(n)) * (1 - 2.0**-50)

    def _run_one(self, seed, tally):
        rng = np.random.default_rng(seed)
        self.is_real = rng.random() < 0.5
        n = self._length(rng)
        pool = [self._encrypted(rng, n) for _ in range(3)]
        for pair in pool:
            tally.check(f"circuit {seed}, encryption", pair, self.holder.decrypt(pair.ciphertext))
        for step in range(self.length):
            operation, a, b = self._choice(rng, pool)
            name = operation.__name__
            where = f"circuit {seed}, step {step}, {name}"
            try:
                pair = self._tried(tally, operation, rng, a, b)
                if pair is not None:
                    tally.check(where, pair, self.holder.decrypt(pair.ciphertext))
            except Exception as error:
                tally.found.append(f"{where}: {type(error).__name__}: {error}")
                continue
            if pair is not None:
                pool.append(pair)
                tally.operations[name] += 1
            if all(pair.ciphertext.level == 0 for pair in pool[-RECENT:]):
                break
        tally.circuits += 1
        tally.spent += any(pair.ciphertext.level == 0 for pair in pool)

    def _tried(self, tally, operation, rng, a, b):
        """A result, or None where the operation does not apply or its result might wrap around."""
        try:
            return operation(rng, self, a, b)
        except RangeError:
            tally.refused += 1
            return None

    def _choice(self, rng, pool):
        """An operation, and two pairs of one length."""
        a = pool[-1] if rng.random() < LATEST else pool[rng.integers(-RECENT, 0) % len(pool)]
        fitting = [pair for pair in pool[-RECENT:] if pair.n == a.n] or [a]
        a, b = self._known(rng, a), fitting[rng.integers(len(fitting))]
        level = a.ciphertext.level
        if level and a.ciphertext.size > LARGE:
            return scale_down, a, b
        choices = SPENDING_LEVELS if level and rng.random() < SPENDING else FREE
        return choices[rng.integers(len(choices))], a, b

    def _known(self, rng, pair):
        """Say the values' true size now and then, as who knows it may."""
        if pair.ciphertext.leftovers or rng.random() < 0.5:
            return pair
        size = 2.0 ** math.ceil(math.log2(max(2.0**-20, float(np.abs(pair.slots).max()))))
        if size >= pair.ciphertext.size:
            return pair
        return Pair(pair.ciphertext.replace(size=size), pair.slots)

    def _length(self, rng):
        kinds = (self.slots, int(rng.integers(1, self.slots + 1)), *2 * [rng.integers(1, SHORT)])
        return int(kinds[rng.integers(len(kinds))])

    def _encrypted(self, rng, n):
        values = self.values(rng, n) * rng.choice([1.0, 1.0, 1.0, 5.0])
        ways = (self.holder.encrypt, self.holder.encrypt_with_secret_key, self.party.encrypt)
        return self.pair(ways[rng.integers(3)](values), self.padded(values))


def _binary(a, b, operation):
    x, y = a.slots, b.slots
    with np.errstate(invalid="ignore"):
        slots = operation(x, y)
    ciphertext = operation(a.ciphertext, b.ciphertext)
    if not ciphertext.leftovers:  # a product with what is zero behind the vector
        slots = np.where(np.isnan(slots), 0, slots)
    elif a.n < len(slots):
        slots[a.n :] = np.nan
    return Pair(ciphertext, slots)


def _summed(circuit, ciphertext, a):
    """A sum in slot 0; that of one value is what it was, with what stands behind it."""
    return circuit.pair(ciphertext, circuit.padded([a.slots[: a.n].sum()]) if a.n > 1 else a.slots)


def _degree(rng, level):
    return int(rng.choice([degree for degree in DEGREES if degree.bit_length() <= level]))


def _polynomial(x, coefficients):
    y = np.zeros_like(x)
    for coefficient in coefficients[::-1]:
        y = y * x + coefficient
    return y


def _chebyshev(x, coefficients):
    before, now, y = np.ones_like(x), x, coefficients[0] + 0 * x
    for coefficient in coefficients[1:]:
        y = y + coefficient * now
        before, now = now, 2 * x * now - before
    return y


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m bench.circuits", description=__doc__)
    parser.add_argument("--ring-degree", type=int, default=8192)
    parser.add_argument("--depth", type=int, default=3)
    parser.add_argument("--scale-bits", type=int, default=40)
    parser.add_argument("--circuits", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args(arguments)
    params = CkksParams(options.depth, options.scale_bits, ring_degree=options.ring_degree)
    print(params, flush=True)
    start = time.perf_counter()
    first = options.first_seed
    tally = Circuits(params, options.device).run(range(first, first + options.circuits))
    for name, value in tally.facts().items():
        print(f"{name}: {value}")
    print(f"operations: {dict(tally.operations.most_common())}")
    for level in sorted(tally.levels):
        print(
            f"level {level}: {tally.levels[level]} results, {tally.worst[level]:.3f} of the bound"
        )
    print(f"seconds: {time.perf_counter() - start:.0f}")
    for line in tally.found:
        print(line, file=sys.stderr)
    return 1 if tally.found else 0


if __name__ == "__main__":
    sys.exit(main())
