"""Steps of a least-squares descent, many at once where a scheme can take them so.

Layer: tensor, above arithmetic. Opens masked words and nothing else.
"""

from __future__ import annotations

from he_gpu.tensor.secret import SecretTensor


def descended(
    w: SecretTensor, y: SecretTensor, forward: SecretTensor, backward: SecretTensor, n_steps: int
) -> tuple[SecretTensor, int]:
    """Take some steps ``w - backward @ (forward @ w - y)`` at once, bit for bit as one by one.

    One by one, they are ``e = forward.matmul(w) - y`` and
    ``w - backward.matmul(e, frac_bits=w.frac_bits)``, inside of `Session.steps`.

    Args:
        w: weights (width, targets).
        y: targets (n, targets).
        forward: features (n, width).
        backward: (width, n).
        n_steps: the most steps.

    Returns:
        The weights, and after how many steps; 0 where the scheme takes none at once.

    Cost, Error, Leaks: as one by one.
    """
    session = w.session
    session.check_open("matmul")
    predicted_bits = forward.frac_bits + w.frac_bits
    corrected_bits = backward.frac_bits + y.frac_bits
    drops = predicted_bits - y.frac_bits, corrected_bits - w.frac_bits
    # A difference of other fraction bits than y's would be aligned first.
    if y.frac_bits != min(session.frac_bits, predicted_bits) or min(drops) <= 0:
        return w, 0
    stack, n = session.scheme.descend(
        w._stack,
        y._stack,
        (forward._operand_as(2), drops[0]),
        (backward._operand_as(2), drops[1]),
        n_steps,
    )
    return (type(w)(session, stack, w.frac_bits), n) if n else (w, 0)
