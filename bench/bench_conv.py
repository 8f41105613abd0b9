"""Convolutions beside the plaintext ones of the same device in the same run.

Secret images with secret windows, with dealer and truncation, in layers of real networks; and the
exact convolution of words alone, forward and as a weight's gradient. The plaintext is the array
module's product of windows laid side by side, and PyTorch's `conv2d` where it is installed.
"""

import numpy as np
import pytest

import he_gpu as he
from bench import torch_peer
from bench.bench_matmul import roof_products
from bench.bench_protocol import BITS, beside_additive, check_floor
from bench.operands import MODULI, SCHEMES, by_device, operations, words
from he_gpu.backend import Convolution

LAYERS = {
    "LeNet conv1, batch 128": ((128, 1, 28, 28), (20, 1, 5, 5), 0),
    "LeNet conv2, batch 128": ((128, 20, 12, 12), (50, 20, 5, 5), 0),
    "ResNet block, batch 4, 28 x 28": ((4, 64, 28, 28), (64, 64, 3, 3), 1),
    "512 channels, 7 x 7": ((2, 512, 7, 7), (64, 512, 3, 3), 1),
    "ResNet block, batch 128, 56 x 56": ((128, 64, 56, 56), (64, 64, 3, 3), 1),
    "VGG-16 conv5, batch 32": ((32, 512, 14, 14), (512, 512, 3, 3), 1),
    "tiny": ((2, 3, 5, 5), (4, 3, 3, 3), 1),
}
"""Images, windows and padding."""
ON_BOTH = ("LeNet conv1, batch 128", "LeNet conv2, batch 128")
MEASURED = {
    "cpu": (*ON_BOTH, "ResNet block, batch 4, 28 x 28", "512 channels, 7 x 7"),
    "cuda": (*ON_BOTH, "ResNet block, batch 128, 56 x 56", "VGG-16 conv5, batch 32"),
    "emulator": ("tiny",),
}
HEADLINES = ("ResNet block, batch 4, 28 x 28", "ResNet block, batch 128, 56 x 56")
ROUNDS = 15


def geometry(layer):
    x, weight, padding = LAYERS[layer]
    convolution = Convolution(padding=((padding, padding),) * 2)
    return x, weight, padding, convolution, convolution.result_shape(x, weight)


def limit(backend, layer):
    if layer not in by_device(backend, **MEASURED):
        pytest.skip(f"{layer} is not measured on {backend.name}")


def work(weight, result):
    """Multiplications and additions."""
    return operations(result[0] * result[2] * result[3], int(np.prod(weight[1:])), weight[0])


def convolved(xp, x, weight, padding):
    """The plaintext: windows laid side by side by strides, times the weights."""
    x = xp.pad(x, ((0, 0), (0, 0), (padding, padding), (padding, padding)))
    batch, channels, height, width = x.shape
    n_out, _, h, w = weight.shape
    rows, columns = height - h + 1, width - w + 1
    image, channel, row, column = x.strides
    shape = (batch, channels, h, w, rows, columns)
    strides = (image, channel, row, column, row, column)
    seen = xp.lib.stride_tricks.as_strided(x, shape, strides)
    product = weight.reshape(n_out, -1) @ seen.reshape(batch, channels * h * w, rows * columns)
    return product.reshape(batch, n_out, rows, columns)


def plaintexts(backend, device, x, weight, padding):
    """The plaintext convolutions that a row is compared with."""
    xp, here = backend.xp, {}
    for dtype in (np.float64, np.float32):
        a, b = (xp.asarray(v.astype(dtype)) for v in (x, weight))
        name = f"{np.dtype(dtype).name} convolution"
        here[name] = lambda a=a, b=b: convolved(xp, a, b, padding)
    if torch_peer.absent(device) is None:
        torch = torch_peer.module()
        a, b = (torch.from_numpy(v.astype(np.float32)) for v in (x, weight))
        a, b = (v.to(torch_peer.place(device)) for v in (a, b))

        def theirs():
            torch.nn.functional.conv2d(a, b, padding=padding)
            if a.is_cuda:
                torch.cuda.synchronize()

        here["PyTorch float32 conv2d"] = theirs
    return here


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("scheme", ["2 parties", "replicated"])
def test_secret_conv2d(scheme, layer, device, backend, record):
    limit(backend, layer)
    x_shape, weight_shape, padding, _, result = geometry(layer)
    rng = np.random.default_rng(0)
    x, weight = (
        np.ldexp(rng.integers(-(2**BITS), 2**BITS, shape), -BITS)
        for shape in (x_shape, weight_shape)
    )

    def job(images, windows):
        return he.conv2d(images, windows, padding=padding)

    with he.Session(device=device, **SCHEMES[scheme]) as session:
        secret_x, secret_weight = session.share(x), session.share(weight)
        # Sums of up to 4608 products of 17-bit integers stay below 2^53, so float64 is exact.
        first = convolved(np, np.ldexp(x[:2], BITS), np.ldexp(weight, BITS), padding)
        check_floor(job(secret_x, secret_weight)[:2].reveal(), first)
        additive = beside_additive(scheme, device, x, weight, job)
        dealer = "" if additive else "dealer and "
        record.compare(
            f"secret conv2d with {dealer}truncation, {scheme}, {layer}",
            lambda: job(secret_x, secret_weight),
            {**plaintexts(backend, device, x, weight, padding), **additive},
            rounds=ROUNDS,
            operations=work(weight_shape, result),
            headline=layer in HEADLINES,
            family="secret",
            **SCHEMES[scheme],
            layer=layer,
        )


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("label", ["2^64", "2^32"])
@pytest.mark.parametrize("kind", ["forward", "weight's gradient"])
def test_words(kind, label, layer, device, backend, record):
    """Exact convolutions of random words; the gradient has few results and a long sum for each."""
    limit(backend, layer)
    x_shape, weight_shape, padding, convolution, result = geometry(layer)
    if kind != "forward":
        x_shape = (x_shape[1], x_shape[0], *x_shape[2:])
        weight_shape = (result[1], result[0], *result[2:])
        result = convolution.result_shape(x_shape, weight_shape)
    modulus, rng = MODULI[label], np.random.default_rng(1)
    dtype = np.uint64 if modulus == 2**64 else np.uint32
    x, weight = (words(rng, modulus, shape).astype(dtype) for shape in (x_shape, weight_shape))
    images, windows = backend.asarray(x), backend.asarray(weight)

    def job():
        return backend.conv(images, windows, convolution, modulus)

    found = backend.to_numpy(job())[:1, :2]
    with np.errstate(over="ignore"):  # uint64 products wrap as the ring does
        expected = convolved(np, x[:1].astype(np.uint64), weight[:2].astype(np.uint64), padding)
    np.testing.assert_array_equal(found, expected.astype(dtype))
    rng = np.random.default_rng(2)
    reals = (rng.normal(size=shape) for shape in (x_shape, weight_shape))
    record.compare(
        f"conv modulo {label}, {kind}, {layer}",
        job,
        plaintexts(backend, device, *reals, padding),
        rounds=ROUNDS,
        operations=work(weight_shape, result),
        roof_products=roof_products(backend, label),
        family="words",
        modulus=label,
        layer=layer,
    )
