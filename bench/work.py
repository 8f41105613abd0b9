"""What each kernel must do for an element: words that it reads and writes, and its arithmetic.

Derived, not measured, and needs no GPU. The rows of `bench_<family>` are held against these counts,
and docs/performance.md shows them. Multiplications are of 32-bit halves, each half of a product of
two counting as one; additions beside them are not counted.
"""

from typing import NamedTuple

from he_gpu.backend.definition.prg import WORDS_PER_BLOCK, words_per_element

QUARTER_ROUND = 4 * 3  # four times an addition, an exclusive or and a rotation
BLOCK_MIXES = 10 * 8 * QUARTER_ROUND + 16
"""Of ChaCha20: ten double rounds of eight quarter rounds, and the state added to the last."""
FULL, HIGH, LOW = 8, 7, 4
"""Multiplications for the product of two 64-bit words: all 128 bits, the high word, the low one."""
WORD = 64
"""Bits of a word of the comparison's planes."""
PAIRS = WORD // 4
"""Nodes that the first level of a carry tree makes of `2 PAIRS` leaves, each of two bits."""


class Work(NamedTuple):
    """For one element.

    Attributes:
        read: words.
        written: words.
        keystream: 64-bit words of ChaCha20.
        multiplications: of 32 bits.
        word_bytes: of the words read and written.
    """

    read: float
    written: float
    keystream: float = 0
    multiplications: float = 0
    word_bytes: int = 8

    @property
    def n_bytes(self):
        return self.word_bytes * (self.read + self.written)

    @property
    def mixes(self):
        """32-bit additions, exclusive ors and rotations of the keystream."""
        return self.keystream * BLOCK_MIXES / WORDS_PER_BLOCK

    def row(self, n):
        """Arguments of a recorder's row for n elements."""
        return {
            "n_bytes": int(self.n_bytes * n),
            "mixes": int(self.mixes * n),
            "multiplications": int(self.multiplications * n),
        }


def byte_products(left, right, diagonals):
    """Products of byte digits in one product of words: digits i and j with i + j < diagonals."""
    return sum(i + j < diagonals for i in range(left) for j in range(right))


LIMB_PRODUCTS = {
    "2^64": byte_products(8, 8, 8),
    "2^32": byte_products(4, 4, 4),
    "2^64, b of 16 bits": byte_products(8, 2, 8),
    "2^64, b of 8 bits": byte_products(8, 1, 8),
    "q <= 2^24": byte_products(3, 3, 5),
    "q <= 2^16": byte_products(2, 2, 3),
}
WORD_PRODUCTS = {"2^64": LOW, "2^32": 1, "q": FULL}
"""Multiplications of a product that is added to a sum."""
REDUCTION = FULL + LOW
"""Two words modulo q: the quotient's estimate, the quotient times q (Moeller and Granlund)."""


def uniform(modulus):
    """A uniform word modulo a ring."""
    n_bytes = 4 if modulus == 2**32 else 8
    words = words_per_element(modulus)
    reductions = 0 if words == 1 else words
    return Work(0, 1, words * n_bytes / 8, reductions * REDUCTION, n_bytes)


def elementwise(modulus, operation):
    """A sum or product of two words."""
    kind = {2**64: "2^64", 2**32: "2^32"}.get(modulus, "q")
    product = WORD_PRODUCTS[kind] + (REDUCTION if kind == "q" else 0)
    multiplications = product if operation == "mul" else 0
    return Work(2, 1, 0, multiplications, 4 if kind == "2^32" else 8)


def weighted_sum(modulus, terms):
    """A sum of some words times public weights."""
    kind = "2^32" if modulus == 2**32 else "2^64"
    return Work(terms, 1, 0, terms * WORD_PRODUCTS[kind], 4 if kind == "2^32" else 8)


def protocol(parties):
    """Steps of additive shares, of 64 bits."""
    p = parties
    return {
        "reconstruct": Work(p, 1),
        "add_public": Work(p + 1, p),
        "open_masked": Work(2 * p, 1),
        "open_scaled": Work(2 * p, 1),
        "open_scaled by words": Work(2 * p + 1, 1, 0, p * LOW),
        "beaver_combine": Work(3 * p + 2, p, 0, 2 * p * LOW),
        "beaver_combine in total": Work(3 * p + 2, 1, 0, 2 * p * LOW),
        "truncate_finish": Work(2 * p + 1, p),
    }


SHARING = {"split": Work(1, 2, 1), "split_truncated": Work(1, 6, 4)}
"""For two parties: one stream, and one each of the mask and of three shares."""


def bits(parties):
    """Boolean shares in planes of 1 / 64 word; trees by their first level, of 2 PAIRS leaves.

    A carry tree's node takes three planes (both of one leaf, one of the other), an equality tree's
    two.
    """
    p, plane = parties, 1 / WORD
    three, pairs = 3 * PAIRS * plane, PAIRS * plane
    return {
        "bit_planes": Work(1, 1),
        "bit_words": Work(plane, 1),
        "split_bits": Work(1, 2, 1),
        "carry_open": Work(2 * p * three, three),
        "carry_combine": Work(three + p * (three + pairs + 2 * pairs), 2 * p * pairs),
        "and_open": Work(4 * p * pairs, 2 * pairs),
        "and_combine": Work(2 * pairs + 3 * p * pairs, p * pairs),
        "xor_open": Work(2 * p * three, three),
        "bit_shares": Work(p + plane, p),
        "bit_times_word": Work(1 + 3 * p + plane, p, 0, p * LOW),
    }


def leaves(parties, places):
    """The first level of comparison's trees, at as many places of public words."""
    p, plane = parties, 1 / WORD
    all_planes, leaf = WORD * plane, places * plane
    return {
        "less_pairs": Work(all_planes, 2 * leaf),
        "borrows": Work(all_planes, leaf),
        "carry_leaves": Work(2 * leaf + p * (all_planes + leaf), 2 * p * leaf),
        "equal_leaves": Work(all_planes + p * (all_planes + leaf), p * leaf),
        # Half of the nodes are chosen of two by a flag, two planes each.
        "choose_nodes": Work(2 * p * (leaf / 2 + 2 * leaf / 2) + leaf / 2, 2 * p * leaf),
    }


STEPS = {"sign": (2, 1), "logarithm": (16, 3), "reciprocal": (32, 3)}
"""Thresholds and step functions that a function of secrets takes."""


def step_shares(parties, rows, sets):
    """Step functions by as many thresholds: two rows of bits, a word drawn of each."""
    return Work(2 * rows / WORD, parties * sets, (parties - 1) * rows)


REPLICATED = {
    "cross_multiply": Work(4 + 4 + 3, 3, 0, 3 * 2 * LOW),
    "cross_multiply, 3 rows, balanced": Work(3 + 3 + 2, 3, 0, 3 * 2 * LOW),
    "cross_multiply by one word": Work(4 + 3, 3, 0, 3 * 2 * LOW),
    "deal_truncation, 1 choice": Work(4, 2),
    "deal_truncation, 2 choices": Work(5, 2),
    "deal_truncation ahead of the mask": Work(3, 4),
    "deal_mask": Work(3, 2),
    "choose_truncation": Work(5, 1),
    "choose_truncation of parts dealt ahead": Work(6, 1),
}
"""For three parties, of which party p needs words p and p + 1 of an operand."""

LAZY = 3
"""A word times a twiddle (Shoup): the product, the quotient's estimate, the quotient times q."""
TWIST = 2 + 1 + 1
"""A word times a twiddle in Montgomery's form: the product, its multiple of q, that one's high."""
REDUCE = 2
"""A word of 32 bits modulo q."""


def ntt(degree, back):
    """A transform of one limb, for each word; both passes read and write it."""
    stages = degree.bit_length() - 1
    return Work(2, 2, 0, stages / 2 * LAZY + TWIST + (LAZY if back else REDUCE), 4)


RNS_SIZES = 6, 2, 8, 10
"""Terms, keys, limbs and other limbs that are measured."""
REDUCE_WIDE = HIGH + 1
"""A sum of 64 bits modulo q: the quotient, and its product with q."""
SMALL = 2
"""A product of two words of 32 bits."""


def rns(terms, keys, limbs, others):
    """Arithmetic of words modulo small primes, for each word that is written but in extensions.

    Args:
        terms: of a sum of products.
        keys: that all terms are multiplied by, one after another.
        limbs: primes that an extension starts from.
        others: primes that it goes to.
    """
    scaled = limbs * (LAZY + SMALL + 1)  # the word times (Q / q)^-1, and that over q, of 64 bits
    joined = others * (SMALL * (limbs + 1) + REDUCE_WIDE)
    each = {
        "add_rns": (2, 1, 0),
        "sub_rns": (2, 1, 0),
        "neg_rns": (1, 1, 0),
        "mul_rns": (2, 1, SMALL + REDUCE_WIDE),
        "sub_scale_rns": (2, 1, LAZY),
        "dot_rns": (terms * (1 + keys) / keys, 1, terms * SMALL + REDUCE_WIDE),
        "tensor_rns": (4 * terms, 3, 4 * terms * SMALL + 3 * REDUCE_WIDE),
        "automorphism_rns": (1, 1, 0),
        "extend_rns": (limbs, others, scaled + joined),
    }
    return {
        name: Work(read, written, 0, multiplications, 4)
        for name, (read, written, multiplications) in each.items()
    }


def residues(n_moduli, word_bytes=8):
    """Of a product by residues: a word that is cut, and a result that is joined."""
    return {
        "cut_residues": Work(word_bytes, n_moduli, 0, n_moduli * (2 + REDUCE), 1),
        "join_residues": Work(n_moduli, word_bytes, 0, 3 * SMALL * n_moduli + 2 * SMALL, 1),
    }


def descent(rows, width, parties):
    """A step of a descent: both correlations' words, and the multiplications of both products."""
    products = 2 * parties * 2 * rows * width * LOW
    words = parties * (width + rows) + 3 * parties * (rows + width)
    return Work(words, 0, 0, products)
