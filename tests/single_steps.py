"""Steps of a descent one after the other, by the operations of the protocols, and what they send.

They take what `Backend.descend` and `Backend.descend_replicated` take, so they also tell what steps
taken together would send.
"""

from functools import partial

from he_gpu.backend.definition import matmul, protocol, replicated
from he_gpu.backend.definition.words import RING_64
from he_gpu.mpc import Additive, Replicated


def take_singly(monkeypatch):
    """Let every scheme take steps one by one, with the randomness of those taken together."""

    def prepared(descend, scheme, w, y, forward, backward, n_steps):
        return descend(scheme, w, y, forward, backward, 0)

    for scheme in (Additive, Replicated):
        one_by_one = partial(prepared, scheme.descend)
        monkeypatch.setattr(scheme, "descend", lambda *given, steps=one_by_one: steps(*given))


def single_steps(w, y, forward, backward, opened=None):
    """The weights after all steps on additive shares.

    Args:
        w: as `descend` takes it.
        y: likewise.
        forward: likewise.
        backward: likewise.
        opened: a list that takes what each round opens, or None.
    """
    opened = [] if opened is None else opened

    def product(p, x, step):
        e = protocol.open_masked(x, p.b[step])
        z = matmul.matmul_pair(p.opened, x, p.mask, e, RING_64, add=p.c[step], total=True)
        opened.extend((e, z))
        return protocol.truncate_finish(z, p.low[step], p.top[step], p.bits, 1)

    for step in range(len(forward.c)):
        w = w - product(backward, product(forward, w, step) - y, step)
    return w


def single_replicated_steps(w, y, forward, backward, messages=None):
    """The weights after all steps on replicated words.

    Args:
        w: as `descend_replicated` takes it.
        y: likewise.
        forward: likewise.
        backward: likewise.
        messages: a list that takes (from party, to party, words), or None.
    """
    messages = [] if messages is None else messages

    def product(p, x, step):
        both = x[:-1] + x[1:]
        pair = p.stack[:-1], both, p.stack[1:], x[:-1]
        z = matmul.matmul_pair(*pair, RING_64, add=p.hiding[step])
        parts, result = p.parts[step].copy(), p.result[step].copy()
        replicated.deal_mask(parts[:, 1], z[2], p.bits)
        messages.extend([(0, 1, z[0]), (1, 0, z[1]), (2, 1, parts[:, 1])])
        result[1] = replicated.choose_truncation(z[0], z[1], parts, p.bits, 1)
        messages.extend([(0, 1, result[1]), (1, 0, result[1])])
        return result

    for step in range(len(forward.hiding)):
        w = w - product(backward, product(forward, w, step) - y, step)
    return w
