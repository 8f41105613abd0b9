"""SEAL's polynomials and slots in our form: other roots of unity, in another order."""

from tests.he.roots_of_unity import powers_of_five


def seal_values(words, q, n):
    """The coefficients modulo q of a polynomial in SEAL's evaluation form: values at the powers
    2 rev(i) + 1 of the least primitive root of order 2 n."""
    root = min(r for g in range(2, 200) if pow(r := pow(g, (q - 1) // (2 * n), q), n, q) == q - 1)
    root = min(pow(root, k, q) for k in range(1, 2 * n, 2))
    bits = n.bit_length() - 1
    powers = [2 * int(f"{i:0{bits}b}"[::-1], 2) + 1 for i in range(n)]
    inverse = pow(n, -1, q)
    return [
        sum(w * pow(root, -e * j, q) for w, e in zip(words, powers, strict=True)) * inverse % q
        for j in range(n)
    ]


def our_order(values, n, generator):
    """Values of slots whose roots are powers of another generator, in the order of ours."""
    theirs = {pow(generator, k, 2 * n): k for k in range(n // 2)}
    return [
        values[theirs[e]] if e in theirs else values[theirs[2 * n - e]].conjugate()
        for e in powers_of_five(n).tolist()
    ]
