"""The party axis of length 1: the same protocol code with one party per thread and a real exchange.

Threads stand for processes: they share nothing but the queues of the channel and, as the dealer and
the pairwise input keys demand here, the seed.
"""

import queue
import threading

import numpy as np
import pytest

from he_gpu.backend import get_backend
from he_gpu.channel import LocalChannel
from he_gpu.mpc import Additive, Masked, Replicated
from he_gpu.mpc.sums import Operand, SumOfProducts
from he_gpu.ring import KeyRing

TIMEOUT_S = 30
SIGNED = {2**64: np.int64, 2**32: np.int32}
WORD = {2**64: np.uint64, 2**32: np.uint32}


class QueueChannel:
    """One process's end: it hosts a range of parties, the others are behind queues."""

    def __init__(self, parties, hosts, queues):
        self.n_parties = hosts[-1].stop
        self.parties = parties
        self.rounds = 0
        self.bytes_sent = 0
        self._others = [host for host in hosts if host != parties]
        self._queues = queues

    def _send(self, host, words):
        self._queues[self.parties, host].put(words[...].copy())

    def _receive(self, host):
        return self._queues[host, self.parties].get(timeout=TIMEOUT_S)

    def exchange(self, partials, modulus):
        self.rounds += 1
        sums = [partial[...].copy() for partial in partials]
        for host in self._others:
            for partial in partials:
                self._send(host, partial)
        self.bytes_sent += sum(partial.nbytes for partial in sums) * (self.n_parties - 1)
        for host in self._others:
            for total in sums:
                words = self._receive(host)
                if modulus == 2:  # packed bits
                    total ^= words
                else:
                    total += words
        return sums

    def transfer(self, messages):
        self.rounds += 1
        for source, target, words in messages:
            assert (words is not None) == (source in self.parties)
            if source in self.parties:
                self.bytes_sent += words.nbytes
                for host in self._others:
                    if target in host:
                        self._send(host, words)
        received = []
        for source, target, words in messages:
            if target not in self.parties:
                received.append(None)
            elif source in self.parties:
                received.append(words)
            else:
                received += [self._receive(host) for host in self._others if source in host]
        return received


def program(scheme, modulus):
    """Everything a scheme does; inputs are zeros except with their owner. Returns what it made."""
    word, signed, backend = WORD[modulus], SIGNED[modulus], scheme.backend
    hosted = scheme._channel.parties

    def share(values, owner):
        values = np.asarray(values, signed).view(word)
        words = values if owner in hosted else np.zeros_like(values)
        return scheme.share(backend.asarray(words), owner)

    rng = np.random.default_rng(1)
    a, b, c = (rng.integers(-2000, 2000, shape) for shape in ((4, 3), (4, 3), (3, 2)))
    x, y, z = share(a, 0), share(b, scheme.n_parties - 1), share(c, 1)
    scalar = share(-77, 1)
    public = backend.asarray(np.asarray([5, 6, 7], signed).view(word))
    stacks = {"x": x, "y": y, "z": z, "scalar": scalar}
    stacks["add"] = scheme.add(x, y)
    stacks["sub"] = scheme.sub(x, y)
    stacks["neg"] = scheme.neg(x)
    stacks["add_public"] = scheme.add_public(x, public)
    stacks["mul_public"] = scheme.mul_public(x, public)
    stacks["matmul_public"] = scheme.matmul_public(backend.xp.stack([public, public]), z)
    stacks["sum"] = scheme.sum(x, (1,), False)
    stacks["product"] = scheme.product("mul", x, y, 0)
    stacks["scalar product"] = scheme.product("mul", scalar, scalar, 3)
    stacks["truncated product"] = scheme.product("mul", x, y, 8)
    stacks["matmul"] = scheme.product("matmul", x, z, 8)
    stacks["truncate"] = scheme.truncate(x, 4)
    masked = scheme.mask(x)
    stacks["masked"] = scheme.product("matmul", masked, z, 5)
    if isinstance(masked, Masked):
        scaled = masked.transposed().scaled(backend.asarray(np.asarray(word(9))), backend, modulus)
        stacks["transposed"] = scheme.product("matmul", scaled, y, 5)
        stacks["both masked"] = scheme.product("matmul", scaled, masked, 0)
        batch = masked.viewed(lambda words: words[..., [3, 0, 3], :])
        for step in range(3):  # in bulk, and a batch that does not come again
            scheme.expect(3 - step)
            some = batch.viewed(lambda words, step=step: words[..., : step + 1, :], "some", step)
            stacks[f"batch {step}"] = scheme.product("matmul", batch, z, 5)
            stacks[f"some of a batch {step}"] = scheme.product("matmul", some, z, 5)
        scheme.expect(0)
    stacks["scaled"] = scheme.mul_public(x, public, 4)
    thresholds = np.asarray([[0], [-50]], signed).view(word)
    stacks["below"] = scheme.below(x, thresholds)
    stacks["is_zero"] = scheme.is_zero(scheme.sub(x, x))
    stacks["positive part"] = scheme.positive_part(y)
    ends = np.asarray([-300, 1024], signed).view(word)
    stacks["beyond"] = scheme.beyond(y, ends[0], ends[1:])
    for rows in (3, 4):
        stacks[f"largest of {rows}"] = scheme.largest(y[:, :rows])
    stacks["smallest"] = scheme.largest(y, True)
    stacks["square"] = scheme.product("mul", y, y, 0)
    factors = Operand(x), Operand(y)
    jobs = [
        SumOfProducts((factors, factors[::-1]), scheme.add(x, y), 5, 2),
        SumOfProducts((), scheme.add(x, y), -3, 1),
    ]
    stacks["sum of products"], stacks["sum alone"] = scheme.sums_of_products(jobs)
    again = SumOfProducts((factors[:1] * 2,), None, 0, 3)  # opened before
    (stacks["square in a sum"],) = scheme.sums_of_products([again])
    stacks["weighted sum"] = scheme.weighted_sum([x, y], [3, -4])
    stacks["several"] = scheme.below(
        y, np.asarray([[16], [256], [4096], [-256]], signed).view(word)
    )
    stacks["one each"] = scheme.below(y, public[None])
    stacks["steps"] = scheme.steps(y, (-256, 16, 256, 4096), [(5, -4, 3, -2, 1), range(5)])
    for step in range(6):  # in bulk
        scheme.expect(6 - step)
        stacks[f"bulk {step}"] = scheme.product("matmul", masked, z, 5)
    scheme.expect(0)
    scheme.expect(12)
    long = share(np.arange(1500), 0)
    for step in range(12):  # in more than one bulk
        stacks[f"long bulk {step}"] = scheme.product("mul", long, long, 4)
    scheme.expect(0)
    stacks["descent"] = descent(scheme, modulus, x, share(a.T, 0), z, share(b[:, :2], 0))
    opened = {name: backend.to_numpy(scheme.open(stack)) for name, stack in stacks.items()}
    stacks = {name: backend.to_numpy(stack) for name, stack in stacks.items()}
    product = (a * b).astype(object) % modulus
    assert (np.asarray(opened["product"]).astype(object) == product).all()
    assert (np.asarray(opened["below"]) == (a[None] < np.array([0, -50])[:, None, None])).all()
    assert (np.asarray(opened["is_zero"]) == 1).all()
    assert (np.asarray(opened["positive part"]) == np.maximum(b, 0)).all()
    under, over = np.asarray(opened["beyond"]).view(signed)
    assert (under == np.maximum(-300 - b, 0)).all()
    assert (over == np.maximum(b - 1024, 0)).all()
    for rows in (3, 4):
        assert (np.asarray(opened[f"largest of {rows}"]).view(signed) == b[:rows].max(0)).all()
    assert (np.asarray(opened["smallest"]).view(signed) == b.min(0)).all()
    assert (np.asarray(opened["square"]).view(signed) == b * b).all()
    for name, exact in (
        ("sum of products", (2 * a * b + a + b + 5) / 4),
        ("sum alone", (a + b - 3) / 2),
        ("square in a sum", a * a / 8),
    ):
        error = np.asarray(opened[name]).view(signed) - np.floor(exact)
        assert ((error == 0) | (error == 1)).all()
    assert (np.asarray(opened["weighted sum"]).view(signed) == 3 * a - 4 * b).all()
    ends = np.asarray([16, 256, 4096, -256])[:, None, None]
    assert (np.asarray(opened["several"]) == (b < ends)).all()
    assert (np.asarray(opened["one each"]) == (b < [5, 6, 7])).all()
    where = np.searchsorted([-256, 16, 256, 4096], b, side="right")
    values = np.asarray([[5, -4, 3, -2, 1], range(5)])
    assert (np.asarray(opened["steps"]).view(signed) == values[:, where]).all()
    truncated = np.asarray(opened["truncated product"]).view(signed).astype(np.int64)
    assert ((truncated - (a * b >> 8)) >> 1 == 0).all()
    return stacks, opened, scheme.cost


def descent(scheme, modulus, features, transposed, w, y):
    """Six steps of a descent, together where one process hosts every party."""
    alone, done = isinstance(scheme._channel, LocalChannel) and modulus == 2**64, 0
    forward, backward = scheme.mask(features), scheme.mask(transposed)
    for step in range(6):
        if step < done:
            continue
        scheme.expect(6 - step)
        w, n = scheme.descend(w, y, (forward, 4), (backward, 9), 6 - step)
        assert n == (6 if alone else 0)
        if not n:
            e = scheme.sub(scheme.product("matmul", forward, w, 4), y)
            w, n = scheme.sub(w, scheme.product("matmul", backward, e, 9)), 1
        done = step + n
    scheme.expect(0)
    return w


def run_apart(hosts, modulus, device, kind=Additive):
    """Run the program with a thread for each range of parties."""
    queues = {(a, b): queue.Queue() for a in hosts for b in hosts}
    results, errors = [None] * len(hosts), []

    def process(index):
        try:
            channel = QueueChannel(hosts[index], hosts, queues)
            scheme = kind(KeyRing(seed=11), get_backend(device), modulus, channel)
            if kind is Additive:
                assert scheme.lead == (0 in hosts[index])
            results[index] = program(scheme, modulus)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=process, args=(index,)) for index in range(len(hosts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def one_each(n_parties):
    return [range(party, party + 1) for party in range(n_parties)]


@pytest.mark.parametrize("modulus", [2**64, 2**32])
@pytest.mark.parametrize("n_parties", [2, 3, 5])
def test_one_party_per_process_equals_all_in_one(n_parties, modulus):
    """Word for word: every share that a party holds, every opened word, every count."""
    together = Additive(KeyRing(seed=11), get_backend("cpu"), modulus, LocalChannel(n_parties))
    stacks, opened, cost = program(together, modulus)
    apart = run_apart(one_each(n_parties), modulus, "cpu")
    for index, (own_stacks, own_opened, own_cost) in enumerate(apart):
        assert own_stacks.keys() == stacks.keys()
        for name, stack in stacks.items():
            assert own_stacks[name].shape == (1, *stack.shape[1:]), name
            assert (own_stacks[name][0] == stack[index]).all(), name
            assert (own_opened[name] == opened[name]).all(), name
        assert own_cost == cost
    assert cost.rounds > 30
    for name in stacks:
        total = sum(own_stacks[name][0].astype(object) for own_stacks, _, _ in apart) % modulus
        assert (total == np.asarray(opened[name]).astype(object)).all(), name


def check_replicated(hosts, modulus, device):
    together = Replicated(KeyRing(seed=11), get_backend("cpu"), modulus, LocalChannel(3))
    stacks, opened, cost = program(together, modulus)
    apart = run_apart(hosts, modulus, device, Replicated)
    for parties, (own_stacks, own_opened, own_cost) in zip(hosts, apart, strict=True):
        assert own_stacks.keys() == stacks.keys()
        for name, stack in stacks.items():
            assert len(stack) == 4
            assert (stack[0] == stack[3]).all(), name
            assert (own_stacks[name] == stack[parties.start : parties.stop + 1]).all(), name
            assert (own_opened[name] == opened[name]).all(), name
        if len(hosts) == 3:
            assert own_cost.bytes_sent == together._channel.sent[parties.start]
    assert max(own_cost.rounds for *_, own_cost in apart) == cost.rounds


HOSTS = [one_each(3), [range(2), range(2, 3)], [range(1), range(1, 3)]]


@pytest.mark.parametrize("modulus", [2**64, 2**32])
@pytest.mark.parametrize("hosts", HOSTS, ids=["1+1+1", "2+1", "1+2"])
def test_replicated_in_several_processes_equals_all_in_one(hosts, modulus):
    """Word for word too: what a party holds, what it opens, what it sends."""
    check_replicated(hosts, modulus, "cpu")


def test_replicated_on_the_emulator(require_emulator):
    check_replicated(one_each(3), 2**64, "emulator")


def test_on_the_emulator(require_emulator):
    together = Additive(KeyRing(seed=11), get_backend("cpu"), 2**64, LocalChannel(2))
    stacks, _, cost = program(together, 2**64)
    for index, (own_stacks, _, own_cost) in enumerate(run_apart(one_each(2), 2**64, "emulator")):
        for name, stack in stacks.items():
            assert (own_stacks[name][0] == stack[index]).all(), name
        assert own_cost == cost


def test_a_party_that_adds_a_public_value_twice_would_be_seen():
    """The comparison can fail: with lead set in every process the sums are off."""
    schemes = [
        Additive(KeyRing(seed=11), get_backend("cpu"), 2**64, QueueChannel(own, one_each(2), {}))
        for own in one_each(2)
    ]
    x = np.zeros(3, np.uint64)
    stacks = [scheme.share(x, 0) for scheme in schemes]
    for scheme in schemes:
        scheme.lead = 1
    added = [
        scheme.add_public(stack, np.ones(3, np.uint64))
        for scheme, stack in zip(schemes, stacks, strict=True)
    ]
    assert (sum(stack[0] for stack in added) == 2).all()
