"""Every kernel of `kernels/` runs on the emulator, in every order and under the sanitizers.

One table of calls reaches all symbols and compares each result with the NumPy definition. A
kernel that no call reaches fails here, so a new kernel needs an entry.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from he_gpu.backend import Convolution, Kept, emulator, loader
from he_gpu.backend.definition import (
    bits,
    conv,
    descent,
    elementwise,
    leaves,
    matmul,
    ntt,
    prg,
    protocol,
    replicated,
    rns,
    sharing,
    steps,
)
from he_gpu.backend.definition.words import RING_32, RING_64
from he_gpu.backend.device import bits as device_bits
from he_gpu.backend.device import conv as device_conv
from he_gpu.backend.device import descent as device_descent
from he_gpu.backend.device import elementwise as device_elementwise
from he_gpu.backend.device import leaves as device_leaves
from he_gpu.backend.device import matmul as device_matmul
from he_gpu.backend.device import ntt as device_ntt
from he_gpu.backend.device import prg as device_prg
from he_gpu.backend.device import protocol as device_protocol
from he_gpu.backend.device import replicated as device_replicated
from he_gpu.backend.device import rns as device_rns
from he_gpu.backend.device import sharing as device_sharing
from he_gpu.backend.device import splits
from he_gpu.backend.device import steps as device_steps
from he_gpu.backend.device.matmul_limb import limb_kernel
from tests.backend.ring_words import WRAPPING, assert_same, some_words
from tests.ring.polynomials import LARGE, limb_words

pytestmark = pytest.mark.usefixtures("require_emulator")

MODULI = (RING_64, RING_32, 501337, 2**63 - 25)
KEY, NONCE = bytes(range(32)), bytes(12)


def bits_calls(device, rng, modulus):
    if modulus not in WRAPPING:
        return
    k, n = modulus.bit_length() - 1, 2300  # planes of 36 words: packs, and more than one tile
    words, beta = some_words(rng, n, modulus), some_words(rng, (2, 2, n), modulus)
    public = bits.bit_planes(words)
    nodes = some_words(rng, (2, 2, k // 2, 36), RING_64)
    masks = some_words(rng, (2, 3, k // 4, 36), RING_64)
    x, y, (a, b, c) = nodes[:, 0, 1::2], nodes[:, 1, ::2], masks.swapaxes(0, 1)
    calls = {
        "bit_planes": (words,),
        "bit_words": (public[:2], n, words.dtype),
        "carry_open": (nodes, masks),
        "carry_combine": (masks[0], nodes, masks, nodes[:, :, ::2]),
        "and_open": (x, a, y, b),
        "and_combine": (masks[0, :2], y, a, c),
        "xor_open": (a, b),
        "bit_shares": (public[:2], beta, 1),
        "bit_times_word": (public[:2], beta[:, 0], beta, beta[::-1, 1], beta, 1, 1),
    }
    for name, arguments in calls.items():
        result = getattr(device_bits, name)(device, *arguments)
        assert_same(result, getattr(bits, name)(*arguments))
    outputs = [np.empty_like(a) for _ in range(4)]
    device_bits.split_bits(device, a, sharing.Stream(KEY, NONCE), *outputs[:2])
    bits.split_bits(a, sharing.Stream(KEY, NONCE), *outputs[2:])
    for result, expected in zip(outputs[:2], outputs[2:], strict=True):
        assert_same(result, expected)


def leaves_calls(device, rng, modulus):
    if modulus not in WRAPPING:
        return
    k = modulus.bit_length() - 1
    public = some_words(rng, (k, 36), RING_64)
    mask, pairs = (some_words(rng, (2, rows, 36), RING_64) for rows in (k, k // 2))
    nodes = some_words(rng, (2, 2, k // 2, 36), RING_64)
    calls = {
        "less_pairs": (public, (5, 5, modulus - 1), (1, 3, k // 2 - 1)),
        "borrows": (public, (5, modulus - 1), (4, k - 1)),
        "carry_leaves": (public[:6].reshape(3, 2, 36), (0, 2, k // 2 - 1), mask, pairs, 1),
        "equal_leaves": (public, mask, pairs, 1),
        "choose_nodes": (nodes, ((0, 1, 1), (3, 3, -1), (2, 0, 0)), public[:2]),
    }
    for name, arguments in calls.items():
        result = getattr(device_leaves, name)(device, *arguments)
        assert_same(result, getattr(leaves, name)(*arguments))


def elementwise_calls(device, rng, modulus):
    # 37 words: packs, a tail, and more than one row.
    a, b = some_words(rng, (3, 37), modulus), some_words(rng, (37,), modulus)
    for name in ("add", "sub", "mul"):
        for x, y in ((a, a), (a, b), (b, a), (a, a[:, :1]), (a.T, a.T)):
            result = getattr(device_elementwise, name)(device, x, y, modulus)
            assert_same(result, getattr(elementwise, name)(x, y, modulus))
    assert_same(device_elementwise.neg(device, a, modulus), elementwise.neg(a, modulus))
    if modulus in WRAPPING:
        stacks = [some_words(rng, (3, 2, 38), modulus) for _ in range(9)]  # more than one launch
        for terms in (stacks, [stack[:, 1] for stack in stacks], [a, a]):
            words = terms, [-3, *range(1, len(terms))], modulus
            result = device_elementwise.weighted_sum(device, *words)
            assert_same(result, elementwise.weighted_sum(*words))


def prg_calls(device, rng, modulus):
    for n in (1, 37, 2100):
        words = prg.keystream(KEY, NONCE, prg.n_keystream_words(n, modulus))
        result = device_prg.uniform(device, KEY, NONCE, n, modulus)
        assert_same(result, prg.uniform(words, n, modulus))
    assert_same(device_prg.keystream(device, KEY, NONCE, 9), prg.keystream(KEY, NONCE, 9))


def conv_calls(device, rng, modulus, kernel="conv"):
    if kernel == "conv_limb" and modulus not in WRAPPING:
        return
    # More than one tile both ways, columns of several images, a ragged second step of depth.
    convolution = Convolution((1, 2), ((1, 1), (2, 0)))
    x, weight = some_words(rng, (3, 4, 5, 9), modulus), some_words(rng, (66, 4, 3, 3), modulus)
    add = some_words(rng, (66, 1, 1), modulus)
    with device_conv.forced(kernel):
        result = device_conv.conv(device, x, weight, convolution, modulus, add=add)
        assert_same(result, conv.conv(x, weight, convolution, modulus, add=add))
        convolution = Convolution((1, 1), ((-1, 3), (0, 0)), (2, 1), (2, 3), 2)
        x, weight = some_words(rng, (2, 4, 4, 3), modulus), some_words(rng, (6, 2, 2, 2), modulus)
        pair = (x, np.stack([weight, weight[::-1]]), np.stack([x[::-1], x]), weight)
        for total in (False, True):
            with splits.forced(3 if total else 1):
                result = device_conv.conv_pair(device, *pair, convolution, modulus, total=total)
            assert_same(result, conv.conv_pair(*pair, convolution, modulus, total=total))


def conv_limb_calls(device, rng, modulus):
    conv_calls(device, rng, modulus, "conv_limb")


def matmul_calls(device, rng, modulus):
    shapes = {
        "matmul": ((65, 17, 66),),  # ragged edges
        "matmul_small": ((33, 17, 35),),
        "matmul_thin": ((9, 40, 1), (2, 5, 40)),  # along the inner dimension; transposed
    }
    for kernel in shapes:
        with device_matmul.forced(kernel):
            for m, k, n in shapes[kernel]:
                a, b = some_words(rng, (m, k), modulus), some_words(rng, (k, n), modulus)
                add = some_words(rng, n, modulus)
                result = device_matmul.matmul(device, a, b, modulus, add=add)
                assert_same(result, matmul.matmul(a, b, modulus, add=add))
            a, b = some_words(rng, (2, 9, 20), modulus), some_words(rng, (2, 9, 12), modulus)
            pair = (a.swapaxes(1, 2), b, a[0, :5].T, b[:1, :5])
            for total in (False, True):
                with splits.forced(3 if total else 1):
                    result = device_matmul.matmul_pair(device, *pair, modulus, total=total)
                assert_same(result, matmul.matmul_pair(*pair, modulus, total=total))


def matmul_limb_calls(device, rng, modulus):
    moduli = {501337: (501337, 65521)}.get(modulus, (modulus,))
    with device_matmul.forced("matmul_limb"):
        for q in moduli if limb_kernel(modulus) else ():
            for bits in (None, 16, 8) if q == RING_64 else (None,):
                # More than one tile both ways, one step of depth and a ragged third.
                a, b = some_words(rng, (130, 70), q), some_words(rng, (70, 66), q)
                if bits:
                    half = 2 ** (bits - 1)
                    b = rng.integers(-half, half, b.shape).astype(np.uint64)
                result = device_matmul.matmul(device, a, b, q, b_bits=bits)
                assert_same(result, matmul.matmul(a, b, q))
            a, b = some_words(rng, (2, 9, 20), q), some_words(rng, (2, 9, 12), q)
            pair = (a.swapaxes(1, 2), b, a[0, :5].T, b[:1, :5])
            add = some_words(rng, 12, q)
            kept = (Kept(pair[0]), pair[1], Kept(pair[2]), pair[3])
            for operands, total in ((pair, False), (pair, True), (kept, False), (kept, True)):
                with splits.forced(2 if total else 1):
                    result = device_matmul.matmul_pair(device, *operands, q, add=add, total=total)
                assert_same(result, matmul.matmul_pair(*pair, q, add=add, total=total))


def matmul_residue_calls(device, rng, modulus, kernel="matmul_residue"):
    with device_matmul.forced(kernel):
        # More than one tile both ways; the pipeline is filled, and runs over.
        for m, k, n in ((257, 70, 129), (3, 400, 5)):
            a, b = some_words(rng, (m, k), modulus), some_words(rng, (k, n), modulus)
            result = device_matmul.matmul(device, a, b, modulus)
            assert_same(result, matmul.matmul(a, b, modulus))
        a, b = some_words(rng, (2, 9, 20), modulus), some_words(rng, (2, 9, 12), modulus)
        pair = (a.swapaxes(1, 2), b, a[0, :5].T, b[:1, :5])
        add = some_words(rng, 12, modulus)
        kept = (Kept(pair[0]), pair[1], Kept(pair[2]), pair[3])
        for operands, total in ((pair, False), (kept, True)):
            result = device_matmul.matmul_pair(device, *operands, modulus, add=add, total=total)
            assert_same(result, matmul.matmul_pair(*pair, modulus, add=add, total=total))


def matmul_warpgroup_calls(device, rng, modulus):
    matmul_residue_calls(device, rng, modulus, "matmul_warpgroup")


def ntt_calls(device, rng, modulus):
    if modulus != RING_64:  # limbs have primes of their own
        return
    # All splits of the stages into two halves, tables of several primes, more polynomials than
    # blocks of a grid take side by side.
    for log in range(4, 12):
        moduli = LARGE if log < 8 else LARGE[:1]
        words = limb_words(rng, (70 if log < 6 else 2, len(moduli), 2**log), moduli)
        for name in ("ntt", "intt"):
            result = getattr(device_ntt, name)(device, words, moduli)
            assert_same(result, getattr(ntt, name)(words, moduli))


def rns_calls(device, rng, modulus):
    if modulus != RING_64:
        return
    for degree, moduli in ((16, LARGE), (2048, LARGE[:2])):
        shape = (3, 2, len(moduli), degree)
        a, b = limb_words(rng, shape, moduli), limb_words(rng, shape, moduli)
        factors = [-(3**i) for i in range(len(moduli))]
        calls = {
            "add_rns": (a, b),
            "sub_rns": (a, b[0]),
            "neg_rns": (a,),
            "mul_rns": (a, b[0, 0, :, :1]),
            "sub_scale_rns": (a, b[:, :1], factors),
            "dot_rns": (a, b[:, :1]),
            "automorphism_rns": (a, rns.automorphism_index(degree, 5, False)),
        }
        for name, arguments in calls.items():
            result = getattr(device_rns, name)(device, *arguments, moduli)
            assert_same(result, getattr(rns, name)(*arguments, moduli))
        result = device_rns.extend_rns(device, a, moduli, LARGE[1:])
        assert_same(result, rns.extend_rns(a, moduli, LARGE[1:]))
        terms, base = (a[:, :1], b), a[:2, :1, :-1]
        result = device_rns.dot_rns(device, *terms, moduli, base, -(2**40))
        assert_same(result, rns.dot_rns(*terms, moduli, base, -(2**40)))
        result = device_rns.tensor_rns(device, a, b[::-1], moduli)
        assert_same(result, rns.tensor_rns(a, b[::-1], moduli))
        result = device_rns.digits_rns(device, a[0, 0], moduli, (786433,), 2)
        assert_same(result, rns.digits_rns(a[0, 0], moduli, (786433,), 2))


def protocol_calls(device, rng, modulus):
    stack, total = some_words(rng, (3, 300), modulus), some_words(rng, 300, modulus)
    result = device_protocol.reconstruct(device, stack, modulus)
    assert_same(result, protocol.reconstruct(stack, modulus))
    for public in (total, total[:1]):
        result = device_protocol.add_public(device, stack, public, 1, modulus)
        assert_same(result, protocol.add_public(stack, public, 1, modulus))
    if modulus not in WRAPPING:
        return
    y, a, c = (some_words(rng, (3, 300), modulus) for _ in range(3))
    assert_same(device_protocol.open_masked(device, y, a), protocol.open_masked(y, a))
    words = (total, y, a, total[:1], c)
    for opens in (False, True):
        result = device_protocol.beaver_combine(device, *words, total=opens)
        assert_same(result, protocol.beaver_combine(*words, total=opens))
    assert_same(device_protocol.open_scaled(device, y, a, total), protocol.open_scaled(y, a, total))
    result = device_protocol.truncate_finish(device, total, y, a, 16, 1)
    assert_same(result, protocol.truncate_finish(total, y, a, 16, 1))


def replicated_calls(device, rng, modulus):
    if modulus not in WRAPPING:
        return
    for n in (300, 301):  # packs, and single words
        x, y = some_words(rng, (4, n), modulus), some_words(rng, (4, n), modulus)
        for left, right in ((x, y), (x[:, :1], y), (x, y[:, :1])):
            result = device_replicated.cross_multiply(device, left, right, x[1:])
            assert_same(result, replicated.cross_multiply(left, right, x[1:]))
            words = left[:3], right, x[1:], None, True
            result = device_replicated.cross_multiply(device, *words)
            assert_same(result, replicated.cross_multiply(*words))
        for choices in (y[:1], y[:2]):
            for mask in (x[2], None):
                words = (*x[:2], choices, 15, mask)
                parts = replicated.deal_truncation(*words)
                assert_same(device_replicated.deal_truncation(device, *words), parts)
                words = x[3], y[3], parts, 15, 1, None if mask is None else choices
                result = device_replicated.choose_truncation(device, *words)
                assert_same(result, replicated.choose_truncation(*words))
        result = parts.copy()
        device_replicated.deal_mask(device, result[:, 1], x[2], 15)
        replicated.deal_mask(parts[:, 1], x[2], 15)
        assert_same(result, parts)
        words = x[3], y[3], parts[:, 1:], 15, 0
        result = device_replicated.choose_truncation(device, *words)
        assert_same(result, replicated.choose_truncation(*words))


def sharing_calls(device, rng, modulus):
    total = some_words(rng, 300, modulus)
    stream, results = sharing.Stream(KEY, NONCE), []
    for family, first in ((sharing, ()), (device_sharing, (device,))):
        outputs = [np.empty_like(total) for _ in range(6)]
        family.split(*first, total, stream, *outputs[:2], modulus)
        if modulus in WRAPPING:
            pairs = (outputs[:2], outputs[2:4], outputs[4:])
            family.split_truncated(*first, total, (stream,) * 4, *pairs, 16)
        results.append(outputs[: 6 if modulus in WRAPPING else 2])
    for expected, result in zip(*results, strict=True):
        assert_same(result, expected)


def steps_calls(device, rng, modulus):
    if modulus not in WRAPPING:
        return
    keys = [sharing.Stream(KEY, bytes([i] * 12)) for i in range(2)]
    for n, hosted in ((2300, range(3)), (2301, range(1, 3)), (5, range(1))):
        planes = some_words(rng, (2, 4, -(-n // 64)), RING_64)
        weights, constants = (some_words(rng, shape, modulus) for shape in ((4, 4), (4,)))
        arguments = *planes, keys, weights, constants, n, hosted
        result = device_steps.step_shares(device, *arguments)
        assert_same(result, steps.step_shares(*arguments))


def descent_calls(device, rng, modulus):
    if modulus != RING_64:
        return
    # More weights than threads and more residuals than warps, and less of both.
    for rows, width, targets in ((5, 150, 3), (1, 3, 1)):
        w, y = (some_words(rng, (3, m, targets), modulus) for m in (width, rows))
        halves = []
        for m, k in ((rows, width), (width, rows)):
            shapes = (m, k), (3, m, k), (2, 3, k, targets), *((2, 3, m, targets),) * 3
            words = (some_words(rng, shape, modulus) for shape in shapes)
            halves.append(descent.Products(*words, 24))
        result = device_descent.descend(device, w, y, *halves)
        assert_same(result, descent.descend(w, y, *halves))
        w, y = (some_words(rng, (3, m, targets), modulus)[[0, 1, 2, 0]] for m in (width, rows))
        halves = []
        for m, k in ((rows, width), (width, rows)):
            shapes = (4, m, k), *((2, *count, m, targets) for count in ((3,), (4,), (2, 2)))
            stack, *words = (some_words(rng, shape, modulus) for shape in shapes)
            halves.append(descent.CrossProducts(stack[[0, 1, 2, 0]], *words, 24))
        result = device_descent.descend_replicated(device, w, y, *halves)
        assert_same(result, descent.descend_replicated(w, y, *halves))


CALLS = {
    "bits": bits_calls,
    "leaves": leaves_calls,
    "elementwise": elementwise_calls,
    "conv": conv_calls,
    "conv_limb": conv_limb_calls,
    "descent": descent_calls,
    "matmul": matmul_calls,
    "matmul_limb": matmul_limb_calls,
    "matmul_residue": matmul_residue_calls,
    "matmul_warpgroup": matmul_warpgroup_calls,
    "ntt": ntt_calls,
    "prg": prg_calls,
    "protocol": protocol_calls,
    "replicated": replicated_calls,
    "rns": rns_calls,
    "sharing": sharing_calls,
    "steps": steps_calls,
}


def test_every_family_has_calls():
    assert set(CALLS) == set(loader.families())


@pytest.mark.parametrize("family", CALLS)
@pytest.mark.parametrize("order", ["forward", "reverse", "random"])
def test_every_symbol_runs(family, order):
    # Sanitizers, if any, come from the environment, as the test below sets it.
    device = emulator.Emulator(order=order, seed=7)
    before = Counter(emulator.launches)
    rng = np.random.default_rng(1)
    for modulus in MODULI:
        CALLS[family](device, rng, modulus)
    ran = emulator.launches - before
    assert set(loader.load(family).kernels) <= set(ran)


@pytest.mark.parametrize("family", CALLS)
def test_no_symbol_has_races(family):
    if "address" in os.environ.get("HE_GPU_EMULATOR_SANITIZERS", ""):
        pytest.skip("this process has AddressSanitizer, which does not join the race detector")
    device = emulator.Emulator(order="random", seed=8, sanitizers="thread")
    rng = np.random.default_rng(2)
    for modulus in MODULI:
        CALLS[family](device, rng, modulus)


def test_every_symbol_runs_under_the_sanitizers():
    if "HE_GPU_EMULATOR_SANITIZERS" in os.environ:
        pytest.skip("this process already runs with the sanitizers that the environment chose")
    environment = os.environ | emulator.sanitizer_environment("address,undefined")
    environment |= {"HE_GPU_REQUIRE_EMULATOR": "1", "HE_GPU_REQUIRE_CUDA": "0"}
    wanted = "test_every_symbol_runs and random and not sanitizers"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", wanted]
    ran = subprocess.run(
        [*command, str(Path(__file__))],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert f"{len(CALLS)} passed" in ran.stdout
