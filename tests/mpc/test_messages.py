"""What each party is sent, message by message: uniform words, and nothing that undoes a mask.

`replicated` names sender and receiver of every message, so a recording channel sees each party's
view. Party 2 deals for the other two: what it is sent in their steps must be nothing at all.
"""

import itertools

import numpy as np
import pytest

from he_gpu.backend import get_backend
from he_gpu.channel import LocalChannel
from he_gpu.mpc import Additive, Replicated
from he_gpu.ring import KeyRing
from tests.single_steps import single_replicated_steps
from tests.uniformity import LIMIT, assert_uniform, two_sample_score

N = 20_000
rings = pytest.mark.parametrize("modulus", [2**64, 2**32])


class Recorder(LocalChannel):
    """A local channel that keeps what was said."""

    def __init__(self, n_parties):
        super().__init__(n_parties)
        self.messages, self.opened = [], []

    def transfer(self, messages):
        for source, target, words in messages:
            assert words is not None
            self.messages.append((source, target, np.array(words)))
        return super().transfer(messages)

    def exchange(self, partials, modulus):
        self.opened += [(np.array(partial), modulus) for partial in partials]
        return super().exchange(partials, modulus)

    def to(self, party):
        """Return what a party was sent."""
        return [words for _, target, words in self.messages if target == party]


def word_of(modulus):
    return np.dtype(np.uint64 if modulus == 2**64 else np.uint32)


def replicated(modulus, seed=5):
    channel = Recorder(3)
    return Replicated(KeyRing(seed), get_backend("cpu"), modulus, channel), channel


def constant(scheme, value, owner=0):
    """A sharing of one value many times over, where anything that is not hidden shows."""
    return scheme.share(np.full(N, value % scheme.modulus, word_of(scheme.modulus)), owner)


STEPS = {
    "product": lambda s, x, y: s.product("mul", x, y, 0),
    "truncated product": lambda s, x, y: s.product("mul", x, y, 9),
    "truncate": lambda s, x, y: s.truncate(x, 9),
    "truncate by most of the word": lambda s, x, y: s.truncate(x, 8 * x.dtype.itemsize - 4),
    "mul_public": lambda s, x, y: s.mul_public(x, np.asarray(x.dtype.type(3)), 9),
    "below": lambda s, x, y: s.below(x, np.zeros((2, 1), x.dtype)),
    "is_zero": lambda s, x, y: s.is_zero(x),
    "positive_part": lambda s, x, y: s.positive_part(x),
    "below, sharing nodes": lambda s, x, y: s.below(x, powers(x.dtype)),
    "below, element by element": lambda s, x, y: s.below(x, np.arange(N, dtype=x.dtype)[None]),
    "steps": lambda s, x, y: s.steps(x, [16**j for j in range(1, 7)], [range(7), (5,) * 7]),
    "beyond": lambda s, x, y: s.beyond(x, *(np.asarray(x.dtype.type(end)) for end in (3, 5000))),
    "square": lambda s, x, y: s.product("mul", x, x, 9),
}


def dropped(step, modulus):
    """The bits that a step truncates by, or None."""
    most = modulus.bit_length() - 5
    bits = {"truncate by most of the word": most}
    bits |= dict.fromkeys(("truncated product", "truncate", "mul_public", "square"), 9)
    return bits.get(step)


def upper(taken, bits):
    """The upper bits of words whose other bits are 0."""
    k = 8 * taken.itemsize
    assert not (taken << taken.dtype.type(bits)).any()
    return taken >> taken.dtype.type(k - bits)


def powers(dtype):
    """Six powers of 16, as thresholds."""
    return np.asarray([16**j for j in range(1, 7)], dtype)[:, None]


@rings
@pytest.mark.parametrize("owner", [0, 1, 2])
def test_inputs_reach_one_party_hidden(modulus, owner):
    scheme, channel = replicated(modulus)
    constant(scheme, 7, owner)
    ((source, target, words),) = channel.messages
    assert (source, target) == (owner, (owner + 2) % 3)
    assert_uniform(words, modulus)


@rings
@pytest.mark.parametrize("step", [name for name in STEPS if name != "product"])
def test_the_dealing_party_is_sent_nothing(modulus, step):
    """It knows the masks of the step, and no word that they mask ever reaches it."""
    scheme, channel = replicated(modulus)
    x, y = constant(scheme, 1000), constant(scheme, -3, 1)
    channel.messages.clear()
    STEPS[step](scheme, x, y)
    assert {target for _, target, _ in channel.messages} == {0, 1}
    assert channel.to(2) == []
    assert channel.opened == []  # nothing goes to all three either


@rings
@pytest.mark.parametrize("step", STEPS)
def test_every_message_is_uniform(modulus, step):
    """All bits of every word, for constant operands; bits that a step fixes at 0 are left out."""
    scheme, channel = replicated(modulus)
    x, y = constant(scheme, 1000), constant(scheme, -3, 1)
    channel.messages.clear()
    STEPS[step](scheme, x, y)
    assert len(channel.messages) >= 3
    for source, _, words in channel.messages:
        bits = dropped(step, modulus) if source == 2 else None
        if bits is not None:
            words, taken = words
            assert_uniform(upper(taken, bits), 2**bits)
        flat = words.reshape(-1)
        ring = 2**64 if flat.dtype == np.uint64 else 2**32
        if flat.size * flat.itemsize * 8 >= 200_000:
            assert_uniform(flat, ring)
        else:  # the packed bits of one plane
            assert_uniform(np.unpackbits(flat.view(np.uint8)), 2)


@rings
@pytest.mark.parametrize("step", STEPS)
def test_no_two_messages_to_one_party_undo_each_other(modulus, step):
    """Sums and differences of any two words of one element are uniform too."""
    scheme, channel = replicated(modulus)
    x, y = constant(scheme, 1000), constant(scheme, -3, 1)
    channel.messages.clear()
    STEPS[step](scheme, x, y)
    for party in range(3):
        messages = [
            words
            for words in channel.to(party)
            if words.dtype == word_of(modulus) and words.shape[-1] == N
        ]
        rows = [(i, row) for i, words in enumerate(messages) for row in words.reshape(-1, N)]
        for (i, first), (j, second) in itertools.combinations(rows, 2):
            if i != j:  # see the next test for two words of one message
                assert_uniform(first + second, modulus)
                assert_uniform(first - second, modulus)


@rings
@pytest.mark.parametrize("bits", [4, 9, 20])
def test_the_two_cases_of_a_truncation_differ_by_uniform_bits(modulus, bits):
    """What party 1 is dealt for either top bit of the opened word tells nothing of the mask's."""
    scheme, channel = replicated(modulus)
    x = constant(scheme, 1000)
    channel.messages.clear()
    scheme.truncate(x, bits)
    ((added, taken),) = [words for source, _, words in channel.messages if source == 2]
    apart = upper(taken, bits)
    assert_uniform(apart, 2**bits)
    # Neither does it with the word to add, whichever case it is.
    high = added >> added.dtype.type(modulus.bit_length() - 1 - bits)
    for words in (high + apart, high - apart):
        assert_uniform(words % words.dtype.type(2**bits), 2**bits)


@rings
@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("party", [0, 1, 2])
def test_a_view_does_not_depend_on_the_values(modulus, step, party):
    """What a party is sent for one pair of values is distributed as for another."""
    views = []
    for seed, (a, b) in enumerate(((1000, -3), (-2, 5))):
        scheme, channel = replicated(modulus, seed)
        x, y = constant(scheme, a), constant(scheme, b, 1)
        channel.messages.clear()
        STEPS[step](scheme, x, y)
        views.append(channel.to(party))
    assert [v.shape for v in views[0]] == [v.shape for v in views[1]]
    for first, second in zip(*views, strict=True):
        up = np.uint64(64 - 8 * first.itemsize)
        samples = (words.astype(np.uint64) << up for words in (first, second))
        assert abs(two_sample_score(*samples)) < LIMIT


def test_the_recording_sees_what_party_2_is_sent():
    """So the test above can fail."""
    scheme, channel = replicated(2**64)
    x = constant(scheme, 1000)
    channel.messages.clear()
    scheme.open(x)
    assert channel.to(2) != []


@rings
def test_additive_comparison_opens_uniform_words(modulus):
    channel = Recorder(2)
    scheme = Additive(KeyRing(5), get_backend("cpu"), modulus, channel)
    x = constant(scheme, 1000)
    channel.opened.clear()
    for name in STEPS:
        if "truncate" not in name:
            STEPS[name](scheme, x, x)
    assert len(channel.opened) >= 36
    for words, ring in channel.opened:
        if ring == 2:
            assert_uniform(np.unpackbits(words.reshape(-1).view(np.uint8)), 2)
        else:
            assert_uniform(words, ring)


@rings
@pytest.mark.parametrize("n", [1, 64, 65, 1000])
def test_counted_costs_are_the_documented_ones(modulus, n):
    """Rounds and bytes as the docstrings of the schemes state them."""
    dtype, k = word_of(modulus), 64 if modulus == 2**64 else 32
    word, width = dtype.itemsize, -(-n // 64)
    rounds = 7 if k == 64 else 6
    zeros, low = np.zeros(n, dtype), np.asarray(dtype.type(0))
    bits = [int(byte * word, 16) for byte in ("15", "16", "19")]  # which share no node
    thresholds = np.asarray(bits, dtype)[:, None]
    nodes = 3 * (k // 2 - 1)

    def cost(scheme, name, *arguments):
        before = scheme.cost
        getattr(scheme, name)(*arguments)
        return scheme.cost - before

    for parties in (2, 3):
        scheme = Additive(KeyRing(5), get_backend("cpu"), modulus, LocalChannel(parties))
        x = scheme.share(zeros, 0)
        found = cost(scheme, "below", x, thresholds)
        each = n * word + 8 * width * (3 * nodes + 3)
        dealt = 8 * width * (3 * k // 2 + 2 * nodes) + 3 * n * word
        assert found == type(found)(rounds, each * (parties - 1), dealt)
        found = cost(scheme, "is_zero", x)
        each, dealt = n * word + 8 * width * (k - 1), 8 * width * (2 * k - 1) + n * word
        assert found == type(found)(rounds, each * (parties - 1), dealt)
        found = cost(scheme, "positive_part", x)
        each = n * word + 8 * width * (3 * k // 2 - 2)
        dealt = 8 * width * (3 * k // 2 + k - 2) + 2 * n * word
        assert found == type(found)(rounds, each * (parties - 1), dealt)
        found = cost(scheme, "below", x, powers(dtype))
        several = 75 if k == 64 else 39  # six trees would have 186 or 90
        each = n * word + 8 * width * (3 * several + 6)
        dealt = 8 * width * (3 * k // 2 + 2 * several) + 6 * n * word
        assert found == type(found)(rounds, each * (parties - 1), dealt)
        assert cost(scheme, "steps", x, [16**j for j in range(1, 7)], [range(7)] * 9) == found
        found = cost(scheme, "beyond", x, low, thresholds[1, 0])
        each = n * word + 8 * width * 2 * (3 * k // 2 - 2)
        dealt = 8 * width * (3 * k // 2 + 2 * (k - 2)) + 4 * n * word
        assert found == type(found)(rounds, each * (parties - 1), dealt)
        found = cost(scheme, "product", "mul", x, x, 0)
        assert found == type(found)(1, n * word * (parties - 1), n * word)
        found = cost(scheme, "product", "mul", x, x, 5)
        assert found == type(found)(2, 2 * n * word * (parties - 1), 3 * n * word)
        found = cost(scheme, "product", "mul", x, x.copy(), 0)
        assert found == type(found)(1, 2 * n * word * (parties - 1), n * word)
        found = cost(scheme, "product", "matmul", x[:, None], x[:, :, None], 0)
        assert found == type(found)(1, 2 * n * word * (parties - 1), word)

    channel = LocalChannel(3)
    scheme = Replicated(KeyRing(5), get_backend("cpu"), modulus, channel)

    def sent(step):
        rounds, before = channel.rounds, list(channel.sent)
        step()
        return channel.rounds - rounds, [b - a for a, b in zip(before, channel.sent, strict=True)]

    assert sent(lambda: scheme.share(zeros, 1)) == (1, [0, n * word, 0])
    x = scheme.share(zeros, 0)
    assert sent(lambda: scheme.open(x)) == (1, [n * word] * 3)
    assert sent(lambda: scheme.product("mul", x, x, 0)) == (1, [n * word] * 3)
    assert sent(lambda: scheme.product("mul", x, x, 5)) == (2, [2 * n * word] * 3)
    assert sent(lambda: scheme.truncate(x, 5)) == (2, [2 * n * word] * 3)
    assert sent(lambda: scheme.add(x, x)) == (0, [0] * 3)
    pair = n * word + 8 * width * (3 * k // 2 - 2)
    assert sent(lambda: scheme.positive_part(x)) == (rounds + 1, [pair + n * word] * 2 + [0])
    pair = n * word + 8 * width * (k - 1)
    assert sent(lambda: scheme.is_zero(x)) == (rounds + 1, [pair + n * word] * 2 + [0])
    pair = n * word + 8 * width * (3 * nodes + 3)
    expected = (rounds + 1, [pair + 3 * n * word] * 2 + [0])
    assert sent(lambda: scheme.below(x, thresholds)) == expected
    expected = (rounds + 1, [pair + 2 * n * word] * 2 + [0])
    ends = [int(end) for end in thresholds[:, 0]]
    assert sent(lambda: scheme.steps(x, ends, [range(4)] * 2)) == expected
    pair = n * word + 8 * width * 2 * (3 * k // 2 - 2)
    expected = (rounds + 1, [pair + 2 * n * word] * 2 + [0])
    assert sent(lambda: scheme.beyond(x, low, thresholds[1, 0])) == expected
    dealt = scheme.cost.dealer_bytes
    scheme.positive_part(x)
    expected = 8 * width * (3 * k // 2 + k - 2) + 2 * n * word
    assert scheme.cost.dealer_bytes - dealt == expected


def test_steps_of_a_descent_taken_together_send_what_they_send_one_by_one(monkeypatch):
    """Their messages are worked out from all that the operation gets, and compared in order."""
    rng, backend, found = np.random.default_rng(3), get_backend("cpu"), []
    F, y, w = (rng.integers(0, 2**20, shape, np.uint64) for shape in ((3, 5), (3, 2), (5, 2)))
    real = backend.descend_replicated
    for together in (False, True):
        scheme, channel = replicated(2**64)
        stacks = [scheme.share(words, 0) for words in (F, F.T.copy(), y, w)]
        channel.messages.clear()

        def sending(*arguments, to=channel.messages):
            stack = single_replicated_steps(*arguments, to)
            assert (real(*arguments) == stack).all()
            return stack

        monkeypatch.setattr(backend, "descend_replicated", sending)
        f, g, y_stack, w_stack = stacks
        step, steps = 0, 9
        for index in range(steps):
            if index < step:
                continue
            scheme.expect(steps - index)
            most = steps - index if together else 0
            w_stack, n = scheme.descend(w_stack, y_stack, (f, 9), (g, 11), most)
            if not n:
                e = scheme.sub(scheme.product("matmul", f, w_stack, 9), y_stack)
                w_stack, n = scheme.sub(w_stack, scheme.product("matmul", g, e, 11)), 1
            step = index + n
        scheme.expect(0)
        found.append((channel.messages, w_stack, scheme.cost))
    single, other = found
    assert len(single[0]) == len(other[0]) == 9 * 2 * 5
    for (source, target, words), message in zip(single[0], other[0], strict=True):
        assert (source, target) == message[:2]
        assert target != 2
        np.testing.assert_array_equal(words, message[2])
    np.testing.assert_array_equal(single[1], other[1])
    assert single[2] == other[2]
