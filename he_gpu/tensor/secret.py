"""The secret array that users hold: everything that the other files of this package give it.

Layer: tensor, above mpc. Never reads a secret.
"""

from __future__ import annotations

from he_gpu.tensor.convolution import Convolutions
from he_gpu.tensor.curves import Curves
from he_gpu.tensor.magnitudes import Magnitudes
from he_gpu.tensor.manners import Manners
from he_gpu.tensor.norms import Norms
from he_gpu.tensor.softmax import Softmax


class SecretTensor(Manners, Curves, Magnitudes, Softmax, Convolutions, Norms):
    """An immutable array of secret reals among the parties of one session.

    Made by `Session.share` and by arithmetic. Public operands (numbers, nested lists, NumPy and
    CuPy arrays) stand on either side of an operator. Comparisons are exact and give secret 0 and 1,
    see `Ordering`; what is made of them, such as `relu`, `max` and `sort`, see `Selection`. For
    NumPy's functions see `Manners`.

    Values carry ``frac_bits`` fraction bits; with k the bits of the ring's word, every value v of
    an encoding must satisfy |v| < 2**(k - 2 - frac_bits), and every product the same with both
    operands' fraction bits added. Shares cannot see an overflow; a session with protocol="plain"
    raises on one.

    Attributes:
        session: the session that holds the shares.
        frac_bits: fraction bits of the encoding.
        shape: of the secret array.
        ndim: number of its axes.

    Example:
        >>> import numpy as np
        >>> import he_gpu as he
        >>> session = he.Session(device="cpu")
        >>> x = session.share([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
        >>> x
        SecretTensor(shape=(2, 3), protocol='additive', modulus=2**64, frac_bits=16, device='cpu')
        >>> x.size, x.T.shape, x.flatten().shape, x[:, 1:].shape
        (6, (3, 2), (6,), (2, 2))
        >>> (2 * x - 1).reveal().tolist()
        [[1.0, 3.0, 5.0], [7.0, 9.0, 11.0]]
        >>> np.matmul(x, x.T).reveal().round(2).tolist()
        [[14.0, 32.0], [32.0, 77.0]]
        >>> x.shares.shape, x.shares.dtype  # one share for each of two parties
        ((2, 2, 3), dtype('uint64'))

        Fraction bits are a choice, and a mask serves many products:

        >>> x.matmul(x.mT, frac_bits=32).frac_bits, x.scaled(0.1).with_frac_bits(16).frac_bits
        (32, 16)
        >>> masked = x.masked()
        >>> masked.is_masked, (masked @ x.T).is_masked
        (True, False)
    """

    __slots__ = ()
