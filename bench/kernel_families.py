"""What docs/performance.md says of each kernel family: its work, its floor, what was tried.

Sentences stand here; every count comes from `bench.work` and the modules that the kernels' plans
come from, every time and ratio from bench/results. `bench.performance` makes the page of both.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from bench import work
from bench.operands import MODULI
from he_gpu.backend.definition.digits import plan
from he_gpu.backend.definition.matmul_residue import n_moduli

DEPTHS = (1024, 8192, 40_000)
"""Inner dimensions at which the moduli of a product by residues are counted."""
ROWS, WIDTH = 4, 256
"""Of the main job, whose descent is counted."""


class Tried(NamedTuple):
    """Something that was measured beside what is used.

    Attributes:
        what: it is.
        suite: of its rows.
        name: that a row begins with.
        baseline: of the row, whose ratio tells the result.
        peer: whether the row is what was tried and the baseline what is used, or the other way.
        outcome: what was decided.
    """

    what: str
    suite: str
    name: str
    baseline: str
    peer: bool
    outcome: str


class Section(NamedTuple):
    """Of the page.

    Attributes:
        title: of the section.
        families: files of `kernels/` without their ending.
        suites: of bench/results whose rows are shown.
        kinds: facts of a row, any of which it must have; none where all rows count.
        titles: of the table of work.
        work: its lines, as texts.
        floor: the least time, as a formula.
        cpu: what the definition does, and what bounds it there.
        gpu: what bounds the kernels by their counts.
        tried: what else was measured.
        history: rows whose results over time are shown.
        names: with which the rows that are shown begin.
    """

    title: str
    families: tuple[str, ...]
    suites: tuple[str, ...]
    kinds: tuple[dict[str, Any], ...]
    titles: tuple[str, ...]
    work: list[list[str]]
    floor: str
    cpu: str
    gpu: str
    tried: tuple[Tried, ...] = ()
    history: tuple[str, ...] = ()
    names: tuple[str, ...] = ("",)


def number(value):
    """A count with as many digits as it has, but three after the point."""
    return f"{value:.3f}".rstrip("0").rstrip(".") if value else ""


WORK_TITLES = (
    "kernel",
    "bytes read",
    "bytes written",
    "mixes",
    "multiplications",
    "of both for a byte",
)


def counted(works):
    """Lines of a table of work: bytes and arithmetic for an element."""
    return [
        [
            name,
            number(each.read * each.word_bytes) or "0",
            number(each.written * each.word_bytes) or "0",
            number(each.mixes),
            number(each.multiplications),
            f"{(each.mixes + each.multiplications) / each.n_bytes:.1f}",
        ]
        for name, each in works.items()
    ]


def kernels(*names):
    """Facts of the rows of these kernels."""
    return tuple({"kernel": name} for name in names)


def products():
    """Lines of a table of products: what one product of two words takes by each way."""
    lines = [
        [f"words, modulo {ring}", several(count, "multiplication")]
        for ring, count in work.WORD_PRODUCTS.items()
    ]
    lines += [
        [f"byte limbs, modulo {ring}" if ring[0] == "2" else f"byte limbs, {ring}",
         several(count, "product") + " of bytes"]
        for ring, count in work.LIMB_PRODUCTS.items()
    ]  # fmt: skip
    for label in ("2^64", "2^61 - 1"):
        counts = (f"{n_moduli(MODULI[label], depth)} for k = {depth}" for depth in DEPTHS)
        lines.append([f"residues, modulo {label}", f"products of bytes: {', '.join(counts)}"])
    return lines + [[f"the CPU's digits, modulo {label}", on_cpu(label)] for label in MODULI]


def on_cpu(label):
    """How many float64 products an exact one takes in the definition."""
    widths, diagonals, _ = plan(MODULI[label])
    count = work.byte_products(len(widths), len(widths), diagonals)
    return several(count, "product") + " of float64"


def several(count, noun):
    return f"{count} {noun}{'' if count == 1 else 's'}"


def conversions():
    """Work of a product by residues beside its products, for 2^64 and small depths."""
    return counted(work.residues(n_moduli(2**64, DEPTHS[0])))


SECTIONS = (
    Section(
        "Matrix products",
        ("matmul", "matmul_limb", "matmul_residue", "matmul_warpgroup"),
        ("matmul",),
        ({"family": "square"}, {"family": "residues"}),
        ("one product of two words", "takes"),
        products(),
        "max(2 p m n k / R, w (m k + k n + m n) / B) for p products of the roof's kind, R of whose "
        "operations run in a second, words of w bytes, and a copy of B bytes a second",
        "Words are cut into balanced digits, as wide as float64 can sum exactly, and BLAS "
        "multiplies them; the cut and the join are passes of NumPy in blocks that stay in cache. "
        "BLAS bounds large products; for small ones the passes and the calls do.",
        "Byte products bound all but thin shapes. Limbs keep their digits in shared memory and "
        "need no other; residues take half the products and pay with passes over memory, of s "
        "bytes for each word of an operand and of a result, so they win from a size on that "
        "`make crossovers` measures. Hopper's full rate of byte products needs its warpgroup "
        "instructions, which read their operands from shared memory; `mma.sync` reaches a part "
        "of it, as Luo et al. measured in 2025.",
        (
            Tried("float64 products of pieces of the words, CrypTen's method", "matmul",
                  "CrypTen's method", "our product", True, "not used"),
            Tried("NumPy's own product of integers", "matmul", "numpy.matmul(uint64)",
                  "our product", True, "used for tiny shapes alone"),
            Tried("CuPy's own product of integers", "matmul", "cupy.matmul(uint64)",
                  "our product", True, "not used"),
            Tried("the left operand cut anew for each product", "matmul", "kept", "not kept",
                  False, "operands that return are kept"),
            Tried("products of the parties summed after they are made", "matmul",
                  "pair of products in total", "summed afterwards", False,
                  "summed as they are made; it saves memory more than time"),
            Tried("byte limbs", "matmul", "matmul by residues", "byte limbs", False,
                  "used below the crossover"),
            Tried("products of whole words", "matmul", "matmul by residues", "words", False,
                  "used below the crossover"),
            Tried("residues with one operand kept", "matmul", "matmul by residues",
                  "one operand kept", False, "masked operands are kept"),
            Tried("residues with both operands kept", "matmul", "matmul by residues",
                  "both operands kept", False, "masked operands are kept"),
        ),
        ("matmul modulo 2^64, n = 1024", "secret matmul with dealer and truncation, 2 parties, "
         "n = 1024"),
    ),
    Section(
        "Conversions of residues",
        ("matmul_residue", "matmul_warpgroup"),
        (),
        (),
        WORK_TITLES,
        conversions(),
        "max(bytes over B, multiplications over their rate), with s = n_moduli residues of a byte "
        "for each word",
        "No product goes this way but in tests of the definition.",
        "A word is read once and its residues are written, 16 bytes of a plane at a time; memory "
        "and multiplications come close by count.",
    ),
    Section(
        "Convolutions",
        ("conv", "conv_limb"),
        ("conv",),
        ({"family": "words"},),
        ("one product of two words", "takes"),
        products()[: len(work.WORD_PRODUCTS) + len(work.LIMB_PRODUCTS)],
        "as a matrix product of (windows, pixels), where the image is read once",
        "Windows are laid side by side, a few images at a time, and multiplied as matrices are. "
        "With few channels the copies take longer than the products.",
        "Windows are gathered as a tile is loaded, so their copies never lie in memory; bytes "
        "bound the products as above.",
    ),
    Section(
        "Sums, products and weighted sums",
        ("elementwise",),
        ("elementwise",),
        (),
        WORK_TITLES,
        counted(
            {
                f"{operation} modulo {label}": work.elementwise(modulus, operation)
                for operation in ("add", "mul")
                for label, modulus in MODULI.items()
                if label != "501337"
            }
            | {
                f"weighted sum of {terms} modulo 2^64": work.weighted_sum(2**64, terms)
                for terms in (4, 16)
            }
        ),
        "bytes over B; multiplications over their rate",
        "One pass of NumPy modulo 2^64 and 2^32. Modulo q a sum takes three, and a product a "
        "remainder, or passes over halves of words where q is above 2^32; these bound it.",
        "Memory, by count, for every ring.",
    ),
    Section(
        "Uniform words",
        ("prg",),
        ("prg",),
        (),
        WORK_TITLES,
        counted({f"uniform modulo {label}": work.uniform(q) for label, q in MODULI.items()}),
        "max(bytes over B, mixes over their rate): additions, exclusive ors and rotations of "
        f"ChaCha20, {work.BLOCK_MIXES} for a block of 64 bytes",
        "OpenSSL writes the keystream; modulo q a reduction of two or three words follows, whose "
        "passes then bound it.",
        "The mixes, by count: a word is written once and nothing is read.",
        (
            Tried("the definition in NumPy in place of OpenSSL", "prg",
                  "keystream by the NumPy definition", "keystream of this device", True,
                  "used where `cryptography` is not installed"),
        ),
        ("uniform modulo 2^64, 4194304 elements",),
        ("uniform",),
    ),
    Section(
        "Steps of additive shares",
        ("protocol",),
        ("protocol",),
        kernels(*work.protocol(2)),
        WORK_TITLES,
        counted(work.protocol(2)),
        "bytes over B",
        "Blocks of NumPy passes that stay in cache, party after party.",
        "Memory: one launch reads each word once and serves all parties.",
        (),
        ("secret multiply, 2 parties, 1048576 elements",),
    ),
    Section(
        "Shares made where they are used",
        ("sharing",),
        ("protocol",),
        kernels(*work.SHARING),
        WORK_TITLES,
        counted(work.SHARING),
        "max(bytes over B, mixes over their rate)",
        "The keystream of OpenSSL and a subtraction in blocks that stay in cache; the parts of a "
        "truncation's mask are further passes.",
        "The mixes of one stream or of four, by count; a mask never lies in memory.",
    ),
    Section(
        "Steps of replicated shares",
        ("replicated",),
        ("replicated",),
        (),
        WORK_TITLES,
        counted(work.REPLICATED),
        "bytes over B",
        "Blocks of NumPy passes that stay in cache; choices are masks, not branches.",
        "Memory: each word is read once.",
        (
            Tried("secret products by the additive protocol", "protocol",
                  "secret multiply, replicated", "additive, 2 parties", False,
                  "both are there; this one needs no dealer"),
        ),
    ),
    Section(
        "Bits of comparison",
        ("bits",),
        ("bits",),
        (),
        WORK_TITLES,
        counted(work.bits(2)),
        "bytes over B; of a tree the first level, half of all",
        "Bit planes come of six exchanges over blocks of words, each some passes of NumPy, which "
        "bound them; the rest are passes over planes.",
        "Memory, by count; `split_bits` the mixes of its stream.",
        (),
        ("ReLU, 2 parties, 1048576 elements modulo 2^64",),
    ),
    Section(
        "Leaves of comparison's trees",
        ("leaves",),
        ("leaves",),
        (),
        WORK_TITLES,
        counted(work.leaves(2, 32)),
        "bytes over B, each plane read once",
        "Passes of NumPy over planes; `borrows` makes one or more for every bit from the lowest of "
        "a public word on, which bounds it.",
        "Memory, if the planes that several words ask for stay in cache.",
    ),
    Section(
        "Step functions",
        ("steps",),
        ("steps",),
        (),
        WORK_TITLES,
        counted(
            {
                f"{name}: {rows} thresholds, {sets} functions": work.step_shares(2, rows, sets)
                for name, (rows, sets) in work.STEPS.items()
            }
        ),
        "max(bytes over B, mixes over their rate): a word is drawn for each threshold",
        "The keystream, and sums whose public factors come from tables by the bits of some rows.",
        "The mixes, by count: planes are 1 / 64 of a word, and no drawn word lies in memory.",
        (
            Tried("drawing the same words and nothing else", "steps", "steps of",
                  "one party's words alone", False, "the floor of any way that draws them"),
        ),
    ),
    Section(
        "Transforms",
        ("ntt",),
        ("ntt",),
        ({"bits": 27.0},),
        WORK_TITLES,
        counted(
            {
                f"{name}, N = {degree}": work.ntt(degree, back)
                for degree in (4096, 65536)
                for name, back in (("ntt", False), ("intt", True))
            }
        ),
        "max(bytes over B, multiplications over their rate): two passes over a polynomial, "
        "log2(N) / 2 butterflies for each word",
        "A stage is three passes of NumPy over a chunk of words that stays in cache, and four more "
        "where words are reduced; they bound it.",
        "Memory or multiplications, which come close by count for large N.",
        (
            Tried("the four steps as exact float64 matrix products", "ntt", "ntt",
                  "as matrix products", False, "not used"),
            Tried("SEAL, one thread, scaled to as many bits", "ntt", "ntt and intt", "SEAL", False,
                  "another library"),
        ),
        (),
        ("ntt, ", "intt, "),
    ),
    Section(
        "Residues of polynomials",
        ("rns",),
        ("rns",),
        (),
        WORK_TITLES,
        counted(work.rns(*work.RNS_SIZES)),
        "max(bytes over B, multiplications over their rate)",
        "Limb by limb in chunks that stay in cache; products take their quotient from float64, "
        "extensions are exact float64 matrix products.",
        "Memory for sums and products of two words; extensions multiply most for a byte.",
    ),
    Section(
        "Steps of a descent",
        ("descent",),
        ("descent",),
        (),
        WORK_TITLES,
        counted(
            {
                f"a step of {ROWS} x {WIDTH}, {parties} parties": work.descent(
                    ROWS, WIDTH, parties
                )
                for parties in (2, 3)
            }
        ),
        "steps times the time of one, which waits for the last: two products, each an opening, a "
        "sum and a truncation",
        "Calls of NumPy on small arrays, whose overhead bounds them; rooms are made once.",
        "One block makes all steps, so the barriers between them and the rate of one "
        "multiprocessor bound it, not the device; single operations would wait for a launch each.",
        (
            Tried("the same steps by single operations", "descent", "descent",
                  "single operations", False, "used where steps are too large for one block"),
        ),
        ("XOR, 4 x 256, 250 steps, 2 parties in one process",),
    ),
)  # fmt: skip
