"""What a party sees, beside all that it knows: messages and dealt shares hide the rest jointly.

That each word is uniform for itself says little to a party that knows some of what hides it. Here
every party has a process of its own, all secrets are 0, and so are all words that the party has in
common with another: what hides a message from it can be nothing that it knows. Bits that one mask
hides twice, or none, are then dependent over GF(2), or constant, or off balance.
"""

import queue
import threading

import numpy as np
import pytest

from he_gpu.backend import get_backend
from he_gpu.mpc import Additive, Replicated, bit_dealer
from he_gpu.mpc.bit_dealer import BitDealer
from he_gpu.mpc.pairwise import Pairwise
from he_gpu.mpc.sums import Operand, SumOfProducts
from he_gpu.ring import KeyRing
from tests.mpc.test_one_party_per_process import QueueChannel, one_each
from tests.uniformity import LIMIT

N = 4096
rings = pytest.mark.parametrize("modulus", [2**64, 2**32])


class Ear(QueueChannel):
    """One party's end, which keeps what it is sent, message by message."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.heard = []

    def _receive(self, host):
        words = super()._receive(host)
        self.heard.append(np.array(words))
        return words


def word_of(modulus):
    return np.dtype(np.uint64 if modulus == 2**64 else np.uint32)


def seen(kind, n_parties, modulus, step, party):
    """Return what a party is sent in a step on stacks of zeros."""
    hosts = one_each(n_parties)
    queues = {(a, b): queue.Queue() for a in hosts for b in hosts}
    channels, errors = [Ear(own, hosts, queues) for own in hosts], []

    def process(channel):
        try:
            scheme = kind(KeyRing(seed=5), get_backend("cpu"), modulus, channel)
            x, y = np.zeros((2, 1 + (kind is Replicated), N), word_of(modulus))
            step(scheme, x, y)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=process, args=(channel,)) for channel in channels]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return channels[party].heard


def bit_rows(words):
    """Return each bit of words (..., N), or each packed plane (..., N / 64), as a row of bits.

    Several of either may stand beside each other, fewer planes than 64.
    """
    if words.dtype == np.uint64 and words.shape[-1] % N:
        return np.unpackbits(words.view(np.uint8), axis=-1, bitorder="little").reshape(-1, N)
    words = words.reshape(-1, 1, N)
    shifts = np.arange(8 * words.itemsize, dtype=words.dtype)[:, None]
    return (words >> shifts & words.dtype.type(1)).reshape(-1, N).astype(np.uint8)


def rank(rows):
    """Return the rank over GF(2)."""
    found = {}
    for row in rows:
        vector = int.from_bytes(np.packbits(row).tobytes(), "big")
        while vector and vector.bit_length() in found:
            vector ^= found[vector.bit_length()]
        if vector:
            found[vector.bit_length()] = vector
    return len(found)


def assert_independent(rows):
    """Every bit is as often 1 as 0, and no sum of them is constant."""
    n = rows.shape[1]
    assert len(rows) <= n - 64  # so many random rows are dependent with probability 2^-63
    scores = (2 * rows.sum(1, dtype=np.int64) - n) / np.sqrt(n)
    assert np.abs(scores).max() < LIMIT
    assert rank([*rows, np.ones(n, np.uint8)]) == len(rows) + 1


def repeated(step, repeats):
    """Return a step taken several times, its masks made in bulk."""

    def run(*arguments):
        for index in range(repeats):
            arguments[0].expect(repeats - index)
            step(*arguments)
        arguments[0].expect(0)

    return run if repeats > 1 else step


@pytest.fixture
def blind(monkeypatch):
    """Return a function that sets to 0 all words that a party has in common with another."""
    draw = Pairwise.draw

    def known_to(party):
        def zeroed(self, target, first, second, purpose):
            draw(self, target, first, second, purpose)
            if party in (first, second):
                target[...] = 0
            return target

        monkeypatch.setattr(Pairwise, "draw", zeroed)

    return known_to


@pytest.fixture
def dealt(monkeypatch):
    """Return, by party, the shares that the dealer hands out."""
    shares = {}

    def record(name):
        deal = getattr(BitDealer, name)

        def recorded(self, *arguments, **named):
            result = deal(self, *arguments, **named)
            own = shares.setdefault(self._rows.start, [])
            if name in ("carry_masks", "and_masks"):  # level by level
                result = list(result)
                own.extend(np.array(field[0]) for level in result for field in level)
                return iter(result)
            known = name in ("mask", "mask_with_bits", "masks_with_bits_of_gaps")
            fields = result[:-1] if known else result
            own.extend(np.array(field[0]) for field in fields if field is not None)
            return result

        monkeypatch.setattr(BitDealer, name, recorded)

    for name in ("mask", "truncation", "product", "sum_of_products"):
        record(name)
    for name in ("mask_with_bits", "masks_with_bits_of_gaps"):
        record(name)
    for name in ("carry_masks", "and_masks", "shared_bits"):
        record(name)
    return shares


# Replicated


@rings
@pytest.mark.parametrize("party", [0, 1, 2])
@pytest.mark.parametrize("repeats", [1, 3])
def test_a_product_is_hidden_from_each_party(modulus, party, repeats, blind):
    blind(party)
    step = repeated(lambda s, x, y: s.product("mul", x, y, 0), repeats)
    heard = seen(Replicated, 3, modulus, step, party)
    assert len(heard) == repeats
    assert_independent(np.concatenate([bit_rows(words) for words in heard]))


TRUNCATIONS = {
    "truncate": lambda s, x, y, bits: s.truncate(x, bits),
    "product": lambda s, x, y, bits: s.product("mul", x, y, bits),
    "sum": lambda s, x, y, bits: s.sums_of_products(
        [SumOfProducts(((Operand(x), Operand(y)),), s.add(x, y), 0, bits)]
    ),
}


def truncated(name, bits, repeats, modulus, party):
    """Return what a party hears of each of several truncations."""
    step = repeated(lambda s, x, y: TRUNCATIONS[name](s, x, y, bits), repeats)
    heard = seen(Replicated, 3, modulus, step, party)
    assert len(heard) % repeats == 0
    each = len(heard) // repeats
    return [heard[start : start + each] for start in range(0, len(heard), each or 1)]


def drops(modulus):
    k = modulus.bit_length() - 1
    return [1, 9, k // 2, k // 2 + 1, k - 3]


@rings
@pytest.mark.parametrize("step", TRUNCATIONS)
@pytest.mark.parametrize("repeats", [1, 3])
def test_a_truncation_hides_all_from_party_0(modulus, step, repeats, blind):
    blind(0)
    for bits in drops(modulus):
        heard = truncated(step, bits, repeats, modulus, 0)
        assert [len(messages) for messages in heard] == [2] * repeats
        assert_independent(bit_rows(np.array(heard)))


@rings
@pytest.mark.parametrize("step", TRUNCATIONS)
@pytest.mark.parametrize("repeats", [1, 3])
def test_a_truncation_hides_all_from_party_1(modulus, step, repeats, blind):
    """The mask, whose floor it is dealt, and whether that is negative.

    The secret and its own words being 0, the mask is minus the word that party 0 sends. Party 0's
    part of the result repeats that word's upper bits; what is left of it are party 0's own words,
    the second where the top bit is set.
    """
    blind(1)
    k = modulus.bit_length() - 1
    for bits in drops(modulus):
        rows, negative = [], None
        for opened, (added, taken), part in truncated(step, bits, repeats, modulus, 1):
            signed = opened.view(f"i{opened.itemsize}")
            rest = part - (signed >> signed.dtype.type(bits)).view(opened.dtype)
            last = [bit_rows(taken), bit_rows(rest)]
            assert not np.concatenate([words[: k - bits] for words in last]).any()
            rows += [bit_rows(opened), bit_rows(added), *(words[k - bits :] for words in last)]
            negative = signed < 0
        rows = np.concatenate(rows)
        assert len(rows) == repeats * 2 * (k + bits)
        assert_independent(rows)
        top = len(rows) - 2 * (k + bits) + k - 1  # the last truncation's
        for case in (negative, ~negative):
            assert_independent(np.delete(rows[:, case], top, 0))


@rings
@pytest.mark.parametrize("step", TRUNCATIONS)
def test_a_truncation_tells_party_2_nothing(modulus, step, blind):
    assert truncated(step, 9, 1, modulus, 2) == []


# The dealer's shares, of "additive" and of parties 0 and 1 of "replicated"


def sums(scheme, x, y):
    """Sums of products that have operands in common, some of them opened before."""
    a, b = Operand(x), Operand(y)
    pairs = ((a, a), (a, b)), ((b, a),), ()
    scheme.sums_of_products([SumOfProducts(p, scheme.add(x, y), 0, 9) for p in pairs])
    scheme.sums_of_products([SumOfProducts(((a, b), (b, b)), None, 0, 9)])


def kept(scheme, x, y):
    """Products of operands that keep their masks."""
    a, b = scheme.mask(x), scheme.mask(y)
    for pair in ((a, b), (a, a), (a, y)):
        scheme.product("mul", *pair, 9)


def kept_views(scheme, x, y):
    """Products of an operand opened once, in another order and with elements repeated."""
    a, at = scheme.mask(x), np.arange(N)
    turned = a.viewed(lambda words: words[..., ::-1], "turned")
    repeated = a.viewed(lambda words: words[..., at // 2])
    for pair in ((a, turned), (repeated, repeated), (repeated, y)):
        scheme.product("mul", *pair, 9)


def scalars(x, *integers):
    return [np.asarray(x.dtype.type(integer)) for integer in integers]


def powers(dtype):
    """Three powers of 16, as thresholds."""
    return np.asarray([16, 256, 4096], dtype)[:, None]


PRODUCTS = {
    "product": lambda s, x, y: s.product("mul", x, y, 9),
    "exact product": lambda s, x, y: s.product("mul", x, y, 0),
    "square": lambda s, x, y: s.product("mul", x, x, 9),
    "exact square": lambda s, x, y: s.product("mul", x, x, 0),
    "kept masks": kept,
    "views of a kept mask": kept_views,
    "truncate": lambda s, x, y: s.truncate(x, 9),
    "mul_public": lambda s, x, y: s.mul_public(x, *scalars(x, 3), 9),
    "sums": sums,
}
COMPARISONS = {
    "below": lambda s, x, y: s.below(x, np.zeros((1, 1), x.dtype)),
    "below, sharing nodes": lambda s, x, y: s.below(
        x, np.stack(scalars(x, 16, 256, 4096))[:, None]
    ),
    "below, equal": lambda s, x, y: s.below(x, np.full((3, 1), 5, x.dtype)),
    "below, element by element": lambda s, x, y: s.below(x, np.zeros((2, N), x.dtype)),
    "steps": lambda s, x, y: s.steps(x, (16, 256, 4096), [(0, 1, 2, 3), (0, -5, 0, 0)]),
    "is_zero": lambda s, x, y: s.is_zero(x),
    "positive_part": lambda s, x, y: s.positive_part(x),
    "beyond": lambda s, x, y: s.beyond(x, *scalars(x, 3, 5000)),
    "largest": lambda s, x, y: s.largest(np.stack([x, y, x], axis=1)),
}


def assert_hidden(heard, own):
    """What a party hears is independent of what it was dealt."""
    assert heard
    assert own
    assert_independent(np.concatenate([bit_rows(words) for words in (*heard, *own)]))


@rings
@pytest.mark.parametrize("repeats", [1, 3])
@pytest.mark.parametrize("step", PRODUCTS)
@pytest.mark.parametrize("party", [0, 1])
def test_what_is_opened_for_products_is_hidden(modulus, step, party, repeats, dealt):
    heard = seen(Additive, 2, modulus, repeated(PRODUCTS[step], repeats), party)
    assert_hidden(heard, dealt[party])


@rings
@pytest.mark.parametrize("step", COMPARISONS)
@pytest.mark.parametrize("party", [0, 1])
def test_what_is_opened_to_compare_is_hidden(modulus, step, party, dealt):
    heard = seen(Additive, 2, modulus, COMPARISONS[step], party)
    assert_hidden(heard, dealt[party])


@pytest.mark.parametrize("n_bytes", [1, 2**16])
@pytest.mark.parametrize("step", ["below, sharing nodes", "is_zero", "largest"])
def test_levels_that_are_dealt_in_pieces_are_hidden(step, n_bytes, dealt, monkeypatch):
    """Each level for itself, and several together but not all."""
    monkeypatch.setattr(bit_dealer, "BULK_BYTES", n_bytes)
    for party in (0, 1):
        dealt.clear()
        heard = seen(Additive, 2, 2**32, COMPARISONS[step], party)
        assert_hidden(heard, dealt[party])


@pytest.mark.parametrize(
    "step", [PRODUCTS["product"], sums, COMPARISONS["beyond"], COMPARISONS["largest"]]
)
@pytest.mark.parametrize("party", [0, 1, 2])
def test_three_parties_hear_of_each_other_no_more(step, party, dealt):
    heard = seen(Additive, 3, 2**32, step, party)
    assert_hidden(heard, dealt[party])


@rings
@pytest.mark.parametrize("step", COMPARISONS)
@pytest.mark.parametrize("party", [0, 1])
def test_comparisons_of_a_pair_are_hidden(modulus, step, party, blind, dealt):
    """The shares of the result too, which the pair sends each other at the end."""
    blind(party)
    heard = seen(Replicated, 3, modulus, COMPARISONS[step], party)
    assert_hidden(heard, dealt[party])


def test_dependent_bits_are_found():
    """So the tests above can fail."""
    rows = np.random.default_rng(3).integers(0, 2, (64, N), np.uint8)
    assert_independent(rows)
    for wrong in (rows[3] ^ rows[17] ^ rows[40], 1 ^ rows[9], rows[1] & rows[2], 0 * rows[0]):
        with pytest.raises(AssertionError):
            assert_independent(np.concatenate([rows, wrong[None]]))
