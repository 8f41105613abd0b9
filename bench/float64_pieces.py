"""A peer's method, written anew: 64-bit integer products from unsigned pieces in float64.

CrypTen and its successors cut int64 into 3 pieces of 22 bits, or into 4 of 16 where the inner
dimension is 256 or more, multiply every pair of pieces in float64 and add the shifted products.
Sources: Knott et al., CrypTen, NeurIPS 2021, section on CUDA; Tan et al., CryptGPU, S&P 2021.
"""

EXACT_FLOAT64 = 2**53
LONG = 256
"""From this inner dimension on the method takes 4 pieces."""


def piece_bits(k):
    """Return the width of a piece and their number, as the method chooses them."""
    return (22, 3) if k < LONG else (16, 4)


def deepest(bits):
    """Return the largest inner dimension whose sums of products of pieces are exact."""
    return EXACT_FLOAT64 // (2**bits - 1) ** 2


def matmul(xp, a, b):
    """Return ``a @ b`` modulo 2^64 for uint64 matrices of an array module.

    Args:
        xp: numpy or cupy.
        a: (m, k) words.
        b: (k, n) words.

    Raises:
        ValueError: an inner dimension that the pieces do not bear.
    """
    k = a.shape[1]
    bits, count = piece_bits(k)
    if k > deepest(bits):
        raise ValueError(f"matmul: k must be at most {deepest(bits)}, got {k}")
    left, right = pieces(xp, a, bits, count), pieces(xp, b, bits, count)
    total = None
    for i in range(count):
        for j in range(count):
            # The method multiplies every pair, also those whose product leaves the word.
            product = (left[i] @ right[j]).astype(xp.int64).view(xp.uint64)
            shift = bits * (i + j)
            if shift < 64:
                product <<= xp.uint64(shift)
                total = product if total is None else xp.add(total, product, out=total)
    return total


def pieces(xp, words, bits, count):
    """Return the unsigned pieces of words in float64, low piece first."""
    mask = xp.uint64(2**bits - 1)
    return [((words >> xp.uint64(bits * i)) & mask).astype(xp.float64) for i in range(count)]
