"""Functions of secrets: the error over and beyond each interval, what they send, their time.

Equality first: no row is timed before every value of a dense grid has met its promise.
"""

import numpy as np
import pytest

import he_gpu as he
from bench.errors import curve, largest
from bench.operands import SCHEMES, by_device
from bench.promises import PROMISES, beyond, inside, of_words, reals
from bench.scores import SOFTMAX, scores, spreads, summary

SIZES = {"cpu": 2**20, "cuda": 10_000_000, "emulator": 2**10}
GRID = {"cpu": 2**17, "cuda": 2**20, "emulator": 2**8}
"""Arguments inside an interval."""
GRID_BESIDE = {"cpu": 2**12, "cuda": 2**14, "emulator": 2**6}
SCORES = {"cpu": (10_000, 10), "cuda": (10_000, 1000), "emulator": (10, 10)}
PROTOCOLS = ("2 parties", "replicated")
LARGEST_RATIO = {"sigmoid": 900}
"""Times NumPy, in place, on the CPU."""
HEADLINES = ("sigmoid", "softmax")
LEAST_RATE = 0.1
"""Million scores per second, of softmax on the CPU: 10,000 x 10 in a second."""
ROWS = {"cpu": 4, "cuda": 16, "emulator": 1}
"""Of a grid of scores, for each spread."""
ROUNDS = 9

protocols = pytest.mark.parametrize("scheme", PROTOCOLS)


def cost_of(promise, scheme, device="cpu"):
    """Rounds of messages, and bytes for each element of the argument, of one call."""
    with he.Session(device=device, **SCHEMES[scheme]) as session:
        secret = session.share(np.ones(promise.counted_shape))
        job = promise.job(secret)
        before = session.cost
        job()
        cost = session.cost - before
    return {
        "communication_rounds": cost.rounds,
        "bytes_per_element": cost.bytes_sent / secret.size,
        "dealer_bytes_per_element": cost.dealer_bytes / secret.size,
    }


def checked(promise, session, n, n_beside):
    """The largest errors, and the curve, of a function that meets its promise."""
    words = inside(promise, n)
    near = np.concatenate([words, beyond(promise, n_beside)])
    x = reals(near)
    found = promise.job(of_words(session, near))().reveal()
    assert np.isfinite(found).all()
    errors = promise.error(found, promise.promised(x))
    assert largest(errors) <= promise.bound
    facts = {"points_inside": words.size, "error_inside": largest(errors[: words.size])}
    if near.size > words.size:
        facts["error_beyond"] = largest(errors[words.size :])
    return facts | {"curve": curve(promise, x, found)}


def checked_scores(promise, session, times):
    """The same of a function of scores, on a grid that holds each spread so many times."""
    widths = spreads(times)
    words = scores(widths)
    found = promise.job(of_words(session, words))().reveal()
    assert np.isfinite(found).all()
    errors = promise.error(found, promise.exact(reals(words)))
    assert largest(errors) <= promise.bound
    return summary(promise, widths, errors)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda each: each.name)
@protocols
def test_function(promise, scheme, device, backend, record):
    n = by_device(backend, **SIZES)
    x = promise.typical(n)
    sizes = (by_device(backend, **sizes) for sizes in (GRID, GRID_BESIDE))
    with he.Session(device=device, **SCHEMES[scheme]) as session:
        facts = checked(promise, session, *sizes)
        if scheme != PROTOCOLS[0]:
            del facts["curve"]
        label, plain = promise.in_the_clear(backend.xp, backend.xp.asarray(x))
        limit = LARGEST_RATIO.get(promise.name) if device == "cpu" else None
        record.compare(
            f"{promise.name}, {scheme}, {n} elements modulo 2^64",
            promise.job(session.share(x)),
            {label: plain},
            rounds=ROUNDS,
            elements=n,
            at_most={label: limit} if limit else None,
            headline=promise.name in HEADLINES,
            **SCHEMES[scheme],
            **promise.facts(),
            **cost_of(promise, scheme),
            **facts,
            n=n,
        )


@pytest.mark.parametrize("promise", SOFTMAX, ids=lambda each: each.name)
@protocols
def test_scores(promise, scheme, device, backend, record):
    shape = by_device(backend, **SCORES)
    x = np.random.default_rng(0).uniform(-8, 8, shape)
    with he.Session(device=device, **SCHEMES[scheme]) as session:
        facts = checked_scores(promise, session, by_device(backend, **ROWS))
        if scheme != PROTOCOLS[0]:
            del facts["curve"]
        demanded = promise.name == "softmax" and device == "cpu"
        record.compare(
            f"{promise.name} of {shape} along axis 1, {scheme}",
            promise.job(session.share(x)),
            {"the same on the host": lambda: promise.exact(x)},
            rounds=ROUNDS,
            elements=x.size,
            at_least={"million_elements_per_second": LEAST_RATE} if demanded else None,
            headline=promise.name in HEADLINES,
            **SCHEMES[scheme],
            **promise.facts(),
            **cost_of(promise, scheme),
            **facts,
        )
