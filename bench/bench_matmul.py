"""Exact matrix products beside the float64 product of the same device in the same run.

Square, batched and the tall and thin shapes of real layers; operands that are kept, and pairs of
products summed over the parties, against the same without; and the peers on the same work: the
array module's own integer product, the float64 pieces of CrypTen, and PyTorch in floating point.
"""

import numpy as np
import pytest

import he_gpu as he
from bench import float64_pieces, torch_peer, work
from bench.operands import MODULI, by_device, operations, product_bytes, words
from he_gpu.backend import Kept
from he_gpu.backend.definition.matmul import plan
from he_gpu.backend.definition.matmul_residue import n_moduli
from he_gpu.backend.device import matmul as launcher
from he_gpu.backend.device.crossovers import RESIDUE_CROSSOVERS

HOST_SIZES = (256, 512, 1024, 2048)
DEVICE_SIZES = (256, 512, 1024, 2048, 4096, 8192)
DEMANDED = {("2^64", 1024): 8.5, ("2^64", 2048): 7.5, ("501337", 1024): 1.6, ("501337", 2048): 1.6}
"""Times the float64 product, on the CPU."""
DEMANDED_ON_HOPPER = {
    ("2^64", 4096): 25,
    ("2^32", 4096): 70,
    ("2^64", 8192): 50,
    ("2^32", 8192): 100,
}
"""Exact tera-operations per second."""
PEERS_ON_HOPPER = {"pieces": 4, "integer": 10}
"""Times our product at n = 4096."""
INT8_PRODUCTS = work.LIMB_PRODUCTS | {"501337": work.LIMB_PRODUCTS["q <= 2^24"]}
"""Products of byte digits that one exact product takes; 2^61 - 1 goes another way."""
RESIDUE_SIZES = {"cpu": (), "cuda": (512, 1024, 2048, 4096, 8192), "emulator": (40,)}
RESIDUE_PEERS = {"2^64": ("byte limbs", "matmul_limb"), "2^61 - 1": ("words", "matmul")}
"""Moduli for which products by residues are measured, and the kernel that they replace."""
DEMANDED_OF_RESIDUES_ON_HOPPER = {("2^64", 8192): 50}
"""Exact tera-operations per second."""
LAYERS = {
    "XOR reservoir": (4, 256, 1),
    "its gradient": (256, 4, 1),
    "logistic regression, 569 x 30": (569, 30, 1),
    "MLP on digits, batch 64": (64, 64, 32),
    "LeNet conv1, batch 128": (73728, 25, 20),
    "LeNet conv2, batch 128": (8192, 500, 50),
    "LeNet fc1, batch 128": (128, 800, 500),
    "VGG-16 conv3, batch 32": (2048, 2304, 256),
    "VGG-16 conv5, batch 32": (128, 4608, 512),
    "BERT feed-forward, 128 tokens": (128, 768, 3072),
}
BATCHED = {"small": (256, 32, 32, 32), "medium": (32, 128, 128, 128), "large": (8, 512, 512, 512)}
KEPT = {
    "cpu": ((20_000, 256, 16), (20_000, 256, 64)),
    "cuda": ((20_000, 256, 16), (20_000, 256, 64), (4096, 4096, 4096)),
    "emulator": ((70, 40, 16),),
}
"""Data of a training run, times weights."""
PAIR_SIZES = {"cpu": (256, 1024), "cuda": (1024, 4096), "emulator": (32,)}
PAIR_PARTIES = 2
INTEGER_SIZES = {True: (256, 512), False: (1024, 4096)}
PIECES_SIZES = {True: (128, 512, 1024), False: (128, 1024, 4096)}
TORCH_SIZES = {True: (1024,), False: (1024, 4096)}
ROUNDS = 45


def limit(backend, n, host_sizes, device_sizes):
    if n not in (host_sizes if backend.is_host else device_sizes):
        pytest.skip(f"n = {n} is not measured on {backend.name}")


def union(sizes):
    return sorted(set(sizes[True]) | set(sizes[False]))


def roof_products(backend, label, n=0):
    """Float64 products of the CPU's plan, or int8 products of a GPU's, of which n of each side."""
    if not backend.is_host:
        bound = RESIDUE_CROSSOVERS.get({"2^64": "ring_u64", "2^61 - 1": "mod_u64"}.get(label))
        if bound and n >= max(bound.side, bound.depth) and n * n >= bound.results:
            return n_moduli(MODULI[label], n)
        return INT8_PRODUCTS.get(label)
    widths, diagonals, _ = plan(MODULI[label])
    return sum(i + j < diagonals for i in range(len(widths)) for j in range(len(widths)))


def ring_operands(label, device, left, right, seed=0):
    """A ring and random operands, whose product has been checked in some rows and columns."""
    modulus = MODULI[label]
    rng = np.random.default_rng(seed)
    left, right = words(rng, modulus, left), words(rng, modulus, right)
    ring = he.Ring(modulus, device=device)
    a, b = ring.asarray(left), ring.asarray(right)
    m, n = left.shape[-2], right.shape[-1]
    rows, columns = slice(0, m, -(-m // 4)), slice(n // 3, n, -(-n // 3))
    exact = left[..., rows, :].astype(object) @ right[..., columns].astype(object) % modulus
    product = ring.to_numpy(ring.matmul(a, b))[..., rows, columns]
    np.testing.assert_array_equal(product, exact.astype(np.uint64))
    return ring, a, b


def normal(backend, shape, dtype=np.float64, seed=0):
    return backend.xp.asarray(np.random.default_rng(seed).normal(size=shape).astype(dtype))


@pytest.mark.parametrize("n", DEVICE_SIZES)
@pytest.mark.parametrize("label", MODULI)
def test_square(label, n, device, backend, hopper, record):
    limit(backend, n, HOST_SIZES, DEVICE_SIZES)
    if label == "2^61 - 1" and n > 1024:
        pytest.skip("2^61 - 1 is measured up to n = 1024")
    ring, a, b = ring_operands(label, device, (n, n), (n, n), seed=n)
    x, y = normal(backend, (n, n)), normal(backend, (n, n), seed=1)
    baselines = {"float64 product": lambda: x @ y}
    if label == "2^64":
        x32, y32 = x.astype(np.float32), y.astype(np.float32)
        baselines["float32 product"] = lambda: x32 @ y32
    scales = {}
    if not backend.is_host and n >= 4096:
        small, few, host_a, host_b = on_cpu(label, 1024)
        baselines["our product on the cpu"] = lambda: small.matmul(host_a, host_b)
        scales["our product on the cpu"] = (n // few) ** 3
    at_most = DEMANDED.get((label, n)) if backend.is_host else None
    at_least = DEMANDED_ON_HOPPER.get((label, n)) if hopper else None
    record.compare(
        f"matmul modulo {label}, n = {n}",
        lambda: ring.matmul(a, b),
        baselines,
        rounds=ROUNDS,
        n_bytes=product_bytes(ring.dtype.itemsize, n, n, n),
        operations=operations(n, n, n),
        roof_products=roof_products(backend, label, n),
        scales=scales,
        at_most=at_most and {"float64 product": at_most},
        at_least=at_least and {"tera_operations_per_second": at_least},
        headline=n in (1024, 4096, 8192) and label != "2^61 - 1",
        family="square",
        modulus=label,
        n=n,
    )


def on_cpu(label, n):
    ring = he.Ring(MODULI[label], device="cpu")
    rng = np.random.default_rng(n)
    a, b = (ring.asarray(words(rng, ring.modulus, (n, n))) for _ in range(2))
    return ring, n, a, b


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("label", ["2^64", "2^32"])
def test_layer(label, layer, device, backend, record):
    m, k, n = LAYERS[layer]
    ring, a, b = ring_operands(label, device, (m, k), (k, n))
    x, y = normal(backend, (m, k)), normal(backend, (k, n), seed=1)
    record.compare(
        f"{layer}: ({m}, {k}) @ ({k}, {n}) modulo {label}",
        lambda: ring.matmul(a, b),
        {"float64 product": lambda: x @ y},
        rounds=ROUNDS,
        n_bytes=product_bytes(ring.dtype.itemsize, m, k, n),
        operations=operations(m, k, n),
        roof_products=roof_products(backend, label),
        family="layer",
        modulus=label,
    )


@pytest.mark.parametrize("kind", BATCHED)
@pytest.mark.parametrize("label", ["2^64", "2^32", "501337"])
def test_batched(label, kind, device, backend, record):
    batch, m, k, n = BATCHED[kind]
    ring, a, b = ring_operands(label, device, (batch, m, k), (batch, k, n))
    x, y = normal(backend, (batch, m, k)), normal(backend, (batch, k, n), seed=1)
    record.compare(
        f"batched ({batch}, {m}, {k}) @ ({batch}, {k}, {n}) modulo {label}",
        lambda: ring.matmul(a, b),
        {"float64 product": lambda: x @ y},
        rounds=ROUNDS,
        n_bytes=product_bytes(ring.dtype.itemsize, m, k, n, batch),
        operations=operations(m, k, n, batch),
        roof_products=roof_products(backend, label),
        family="batched",
        modulus=label,
    )


@pytest.mark.parametrize("shape", sorted({shape for shapes in KEPT.values() for shape in shapes}))
@pytest.mark.parametrize("label", ["2^64", "2^32"])
def test_kept(label, shape, device, backend, record):
    """A left operand that has been in products before, as a masked data matrix has."""
    if shape not in by_device(backend, **KEPT):
        pytest.skip(f"{shape} is not measured on {backend.name}")
    m, k, n = shape
    ring, a, b = ring_operands(label, device, (m, k), (k, n))
    modulus, kept = MODULI[label], Kept(a)
    expected = ring.matmul(a, b)
    for _ in range(2):  # the first product makes what the second one finds
        assert (backend.matmul(kept, b, modulus) == expected).all()
    x, y = normal(backend, (m, k)), normal(backend, (k, n), seed=1)
    record.compare(
        f"kept ({m}, {k}) @ ({k}, {n}) modulo {label}",
        lambda: backend.matmul(kept, b, modulus),
        {"float64 product": lambda: x @ y, "not kept": lambda: backend.matmul(a, b, modulus)},
        rounds=ROUNDS,
        n_bytes=product_bytes(ring.dtype.itemsize, m, k, n),
        operations=operations(m, k, n),
        roof_products=roof_products(backend, label),
        headline=label == "2^64" and n >= 64,
        family="kept",
        modulus=label,
    )


@pytest.mark.parametrize("n", sorted({n for sizes in RESIDUE_SIZES.values() for n in sizes}))
@pytest.mark.parametrize("label", RESIDUE_PEERS)
def test_residues(label, n, device, backend, hopper, warpgroups, record):
    """Products by residues, with operands cut each time and kept, beside the other kernel's.

    On Hopper by warpgroups, beside the same by `mma.sync`.
    """
    if n not in by_device(backend, **RESIDUE_SIZES):
        pytest.skip(f"n = {n} is not measured on {backend.name}")
    ring, a, b = ring_operands(label, device, (n, n), (n, n), seed=n)
    modulus, peer = MODULI[label], RESIDUE_PEERS[label]
    left, right = Kept(a), Kept(b)
    own = "matmul_warpgroup" if warpgroups else "matmul_residue"

    def by(kernel, x, y):
        with launcher.forced(kernel):
            return backend.matmul(x, y, modulus)

    expected = by(peer[1], a, b)
    for operands in ((a, b), (left, b), (left, right)):
        assert (by(own, *operands) == expected).all()
    x, y = normal(backend, (n, n)), normal(backend, (n, n), seed=1)
    warps = {"products of warps": lambda: by("matmul_residue", a, b)} if warpgroups else {}
    at_least = DEMANDED_OF_RESIDUES_ON_HOPPER.get((label, n)) if hopper else None
    record.compare(
        f"matmul by residues modulo {label}, n = {n}",
        lambda: by(own, a, b),
        {
            "float64 product": lambda: x @ y,
            peer[0]: lambda: by(peer[1], a, b),
            "one operand kept": lambda: by(own, left, b),
            "both operands kept": lambda: by(own, left, right),
            **warps,
        },
        rounds=ROUNDS,
        n_bytes=product_bytes(ring.dtype.itemsize, n, n, n),
        operations=operations(n, n, n),
        roof_products=n_moduli(modulus, n),
        at_least=at_least and {"tera_operations_per_second": at_least},
        family="residues",
        modulus=label,
        n=n,
    )


@pytest.mark.parametrize("n", sorted({n for sizes in PAIR_SIZES.values() for n in sizes}))
@pytest.mark.parametrize("label", ["2^64", "2^32"])
def test_pair_in_total(label, n, device, backend, record):
    """What the parties of a Beaver product send, d y + a e + c, summed over them as it is made."""
    if n not in by_device(backend, **PAIR_SIZES):
        pytest.skip(f"n = {n} is not measured on {backend.name}")
    ring, d, e = ring_operands(label, device, (n, n), (n, n))
    rng = np.random.default_rng(1)
    modulus, shape = MODULI[label], (PAIR_PARTIES, n, n)
    y, a, c = (ring.asarray(words(rng, modulus, shape)) for _ in range(3))

    def summed_after():
        return backend.reconstruct(backend.matmul_pair(d, y, a, e, modulus, add=c), modulus)

    def summed():
        return backend.matmul_pair(d, y, a, e, modulus, add=c, total=True)

    # d (y_0 + y_1) + (a_0 + a_1) e + c_0 + c_1
    totals = [backend.reconstruct(stack, modulus) for stack in (y, a, c)]
    products = ring.add(ring.matmul(d, totals[0]), ring.matmul(totals[1], e))
    expected = ring.add(products, totals[2])
    assert (summed() == expected).all()
    assert (summed_after() == expected).all()
    x, z = normal(backend, (n, n)), normal(backend, (n, n), seed=1)
    record.compare(
        f"pair of products in total, {PAIR_PARTIES} parties, n = {n}, modulo {label}",
        summed,
        {"float64 product": lambda: x @ z, "summed afterwards": summed_after},
        rounds=ROUNDS,
        operations=operations(n, 2 * n, n, PAIR_PARTIES),
        roof_products=roof_products(backend, label),
        family="pair",
        modulus=label,
        parties=PAIR_PARTIES,
        n=n,
    )


@pytest.mark.parametrize("n", union(INTEGER_SIZES))
def test_integer_matmul(n, device, backend, hopper, record):
    limit(backend, n, INTEGER_SIZES[True], INTEGER_SIZES[False])
    ring, a, b = ring_operands("2^64", device, (n, n), (n, n))
    xp = backend.xp
    assert (xp.matmul(a, b) == ring.matmul(a, b)).all()
    label = f"{xp.__name__}.matmul(uint64)"
    record.compare(
        f"{label}, n = {n}",
        lambda: xp.matmul(a, b),
        {"our product": lambda: ring.matmul(a, b)},
        rounds=ROUNDS,
        operations=operations(n, n, n),
        at_least={"our product": PEERS_ON_HOPPER["integer"]} if hopper and n == 4096 else None,
        family="peer",
        peer=label,
        n=n,
    )


@pytest.mark.parametrize("n", union(PIECES_SIZES))
def test_float64_pieces(n, device, backend, hopper, record):
    limit(backend, n, PIECES_SIZES[True], PIECES_SIZES[False])
    ring, a, b = ring_operands("2^64", device, (n, n), (n, n))
    xp = backend.xp
    assert (float64_pieces.matmul(xp, a, b) == ring.matmul(a, b)).all()
    x, y = normal(backend, (n, n)), normal(backend, (n, n), seed=1)
    bits, count = float64_pieces.piece_bits(n)
    record.compare(
        f"CrypTen's method, {count} x {bits} bits in float64, n = {n}",
        lambda: float64_pieces.matmul(xp, a, b),
        {"our product": lambda: ring.matmul(a, b), "float64 product": lambda: x @ y},
        rounds=ROUNDS,
        operations=operations(n, n, n),
        at_least={"our product": PEERS_ON_HOPPER["pieces"]} if hopper and n == 4096 else None,
        family="peer",
        peer="CrypTen's method",
        n=n,
    )


@pytest.mark.parametrize("n", union(TORCH_SIZES))
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_torch(dtype, n, device, backend, record):
    limit(backend, n, TORCH_SIZES[True], TORCH_SIZES[False])
    reason = torch_peer.absent(device)
    if reason:
        pytest.skip(reason)
    torch = torch_peer.module()
    ring, a, b = ring_operands("2^64", device, (n, n), (n, n))
    left, right = (np.random.default_rng(i).normal(size=(n, n)).astype(dtype) for i in range(2))
    x, y = (torch.from_numpy(array).to(torch_peer.place(device)) for array in (left, right))
    x_here, y_here = backend.xp.asarray(left), backend.xp.asarray(right)
    # Sums of k products of normal numbers in another order: k rounding errors at most.
    most = n * np.finfo(dtype).eps * np.abs(left[:4]).astype(np.float64) @ np.abs(right)
    difference = (x[:4] @ y).cpu().numpy().astype(np.float64) - left[:4].astype("f8") @ right
    assert (np.abs(difference) <= 2 * most).all()

    def finished():
        x @ y
        if x.is_cuda:
            torch.cuda.synchronize()

    record.compare(
        f"PyTorch {dtype} product, n = {n}",
        finished,
        {
            "our product": lambda: ring.matmul(a, b),
            f"{backend.xp.__name__} {dtype} product": lambda: x_here @ y_here,
        },
        rounds=ROUNDS,
        operations=operations(n, n, n),
        family="peer",
        peer=f"PyTorch {dtype}",
        n=n,
    )
