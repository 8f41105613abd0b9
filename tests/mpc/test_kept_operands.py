"""What a device makes of an operand of many products is made once on the paths that train models.

The kernels of residues are forced, and what they cut is told by its shape, or by its words.
"""

from collections import Counter

import numpy as np
import pytest

import he_gpu as he
from he_gpu.backend.device import matmul as launcher
from he_gpu.backend.device import matmul_residue as kernels

PROTOCOLS = ("additive", "replicated")
N, WIDTH, HIDDEN, TARGETS = 11, 5, 7, 3
"""Four numbers, so that shapes tell matrices apart."""


@pytest.fixture
def cuts(monkeypatch):
    """The words of each launch that cuts residues; their kernels are forced."""
    found, cut = [], kernels.cut_residues

    def counted(device, words, modulus, count):
        found.append(words)
        return cut(device, words, modulus, count)

    monkeypatch.setattr(kernels, "cut_residues", counted)
    with launcher.forced("matmul_residue"):
        yield found


def open_session(protocol):
    return he.Session(protocol=protocol, device="emulator", seed=1)


def shapes(cuts):
    return Counter(words.shape[-2:] for words in cuts)


@pytest.mark.usefixtures("require_emulator")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_operands_of_many_products_are_cut_once_for_each_side(protocol, cuts):
    rng = np.random.default_rng(1)
    x, y, z = (rng.integers(-9, 9, shape) / 4 for shape in ((N, WIDTH), (WIDTH, 2), (N, 2)))
    with open_session(protocol) as s:
        X = s.share(x).masked()
        for _ in range(3):
            np.testing.assert_allclose((X @ s.share(y)).reveal(), x @ y, atol=2**-15)
            np.testing.assert_allclose((X.T @ s.share(z)).reveal(), x.T @ z, atol=2**-15)
            np.testing.assert_allclose((s.share(z).T @ X).reveal(), z.T @ x, atol=2**-15)
        # The shares with replicated; with additive the mask, the opened words and the dealer's, and
        # of the right operand the shares.
        of_X = [words for words in cuts if sorted(words.shape[-2:]) == [WIDTH, N]]
        assert len(of_X) == (2 if protocol == "replicated" else 7)


@pytest.mark.usefixtures("require_emulator")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_data_matrix_is_cut_once_for_a_whole_descent(protocol, cuts):
    rng = np.random.default_rng(2)
    X, y = rng.uniform(-1, 1, (N, 2)), rng.uniform(-1, 1, (N, TARGETS))
    found = []
    for n_steps in (2, 5):
        cuts.clear()
        with open_session(protocol) as s:
            model = he.ReservoirRegressor(width=WIDTH, n_steps=n_steps, log_every=1, random_state=0)
            model.fit(X, y, session=s)
        found.append(shapes(cuts))
    kept = 1 if protocol == "replicated" else 3
    for each in found:  # F on the left, and its transpose on the left
        assert (each[N, WIDTH], each[WIDTH, N]) == (kept, kept)
    assert found[1][TARGETS, WIDTH] > found[0][TARGETS, WIDTH]  # the weights of each step


@pytest.mark.usefixtures("require_emulator")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_data_matrix_is_cut_once_for_all_epochs(protocol, cuts):
    rng = np.random.default_rng(3)
    X, y = rng.uniform(-1, 1, (N, WIDTH)), rng.uniform(-1, 1, (N, TARGETS))
    found = []
    for epochs in (2, 4):
        cuts.clear()
        with open_session(protocol) as s:
            model = he.nn.Sequential(
                he.nn.Linear(WIDTH, HIDDEN, random_state=0),
                he.nn.Linear(HIDDEN, TARGETS, random_state=0),
            )
            optimizer = he.nn.SGD(model.parameters(), lr=0.1)
            trainer = he.nn.Trainer(
                model, he.nn.MSELoss(), optimizer, batch_size=None, log_every=0, progress=False
            )
            trainer.fit(s.share(X), s.share(y), epochs=epochs)
        found.append(shapes(cuts))
    for shape in ((N, WIDTH), (WIDTH, N)):
        assert found[0][shape] == found[1][shape] > 0
    assert found[1][HIDDEN, WIDTH] > found[0][HIDDEN, WIDTH]


@pytest.mark.usefixtures("require_emulator")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_weights_are_cut_once_for_all_their_uses_in_a_step(protocol, cuts):
    rng = np.random.default_rng(4)
    w, x = rng.integers(-9, 9, (WIDTH, HIDDEN)) / 4, rng.integers(-9, 9, (3, N, WIDTH)) / 4
    with open_session(protocol) as s:
        weight = he.nn.Variable(s.share(w), requires_grad=True)
        inputs = [he.nn.Variable(s.share(each), requires_grad=True) for each in x]
        first, *others = ((each @ weight).sum() for each in inputs)
        forward = shapes(cuts)[HIDDEN, WIDTH]
        sum(others, first).backward()
        expected = x.sum((0, 1))[:, None] * np.ones(HIDDEN)
        np.testing.assert_allclose(weight.grad.reveal(), expected, atol=2**-12)
    # The shares with replicated; with additive the shares, the opened words and the dealer's.
    assert forward == (1 if protocol == "replicated" else 3)
