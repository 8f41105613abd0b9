"""Vectors of CKKS, computed by Microsoft SEAL through TenSEAL: encodings, and a circuit's words.

``python tests/vectors/ckks_tenseal.py`` writes ``ckks_encoding_tenseal.json`` and
``ckks_circuit_tenseal.json`` anew; it needs TenSEAL alone and imports nothing of he_gpu. SEAL's
random words come from a seed, so a second run writes the same.
"""

import cmath
import json
import random
import re
from pathlib import Path

import tenseal
from tenseal import sealapi

FOLDER = Path(__file__).parent
DEGREE, SEED = 32, 7
SLOTS = DEGREE // 2
MODULI, SPECIAL = (134217409, 134217089, 134216129, 134215681), 134215553
GENERATOR = 3
"""Slot k of SEAL belongs to the root of unity to the power 3^k."""
STEPS = (1, -3)
SCALE_BITS = 26
"""Of the circuit: a scale near a prime, as rescaling wants it."""
ENCODINGS = {
    # name: values, scale bits, and the largest size
    "real": ("real", SLOTS, 20, 8.0),
    "short": ("real", 5, 20, 8.0),
    "complex": ("complex", SLOTS, 20, 1.0),
    "large scale": ("complex", SLOTS, 70, 1.0),
    "largest scale": ("real", SLOTS, 100, 1.0),
}
CONSTANTS = {"constant": (-1 / 3, 40), "one complex number": (2 / 3 - 1j / 7, 30)}


class Tool:
    """SEAL with keys from a seed; its functions with results instead of outputs."""

    def __init__(self):
        parameters = sealapi.EncryptionParameters(sealapi.SCHEME_TYPE.CKKS)
        parameters.set_poly_modulus_degree(DEGREE)
        parameters.set_coeff_modulus([sealapi.Modulus(q) for q in (*MODULI, SPECIAL)])
        parameters.set_random_generator(sealapi.Blake2xbPRNGFactory([SEED] * 8))
        self.context = sealapi.SEALContext(parameters, True, sealapi.SEC_LEVEL_TYPE.NONE)
        self.encoder = sealapi.CKKSEncoder(self.context)
        keys = sealapi.KeyGenerator(self.context)
        self.secret, public = keys.secret_key(), sealapi.PublicKey()
        self.relin, self.galois = sealapi.RelinKeys(), sealapi.GaloisKeys()
        keys.create_public_key(public)
        keys.create_relin_keys(self.relin)
        keys.create_galois_keys(self.galois)
        self.encryptor = sealapi.Encryptor(self.context, public)
        self.decryptor = sealapi.Decryptor(self.context, self.secret)
        self.evaluator = sealapi.Evaluator(self.context)

    def encode(self, values, scale):
        plain = sealapi.Plaintext()
        self.encoder.encode(values, self.context.first_parms_id(), scale, plain)
        return plain

    def encrypt(self, values, scale):
        result = sealapi.Ciphertext()
        self.encryptor.encrypt(self.encode(values, scale), result)
        return result

    def decrypt(self, a):
        plain = sealapi.Plaintext()
        self.decryptor.decrypt(a, plain)
        return self.encoder.decode_complex(plain)

    def __getattr__(self, name):
        def call(*operands):
            result = sealapi.Ciphertext()
            getattr(self.evaluator, name)(*operands, result)
            return result

        return call


def pairs(values):
    return [[complex(v).real, complex(v).imag] for v in values]


def random_values(rng, kind, n, size):
    if kind == "real":
        return [rng.uniform(-size, size) for _ in range(n)]
    return [cmath.rect(rng.uniform(0, size), rng.uniform(-cmath.pi, cmath.pi)) for _ in range(n)]


def polynomial(words, limbs):
    """The residues of one polynomial, limb by limb, as SEAL has them."""
    return [words[limb * DEGREE : (limb + 1) * DEGREE] for limb in range(limbs)]


def plaintext(plain):
    """The residues of a plaintext, or of a key, without those modulo the special prime."""
    return polynomial([plain.data(i) for i in range(len(MODULI) * DEGREE)], len(MODULI))


def ciphertext(a):
    """The residues of a ciphertext's polynomials."""
    limbs = a.coeff_modulus_size()
    step = limbs * DEGREE
    words = [a[i] for i in range(a.size() * step)]
    return [polynomial(words[k * step : (k + 1) * step], limbs) for k in range(a.size())]


def encodings(tool):
    """Values, and their encodings at the highest level."""
    rng, cases = random.Random(SEED), []
    for name, (kind, n, bits, size) in ENCODINGS.items():
        values = random_values(rng, kind, n, size)
        words = plaintext(tool.encode(values, 2.0**bits))
        case = {"name": name, "constant": False, "values": pairs(values)}
        cases.append(case | {"scale_bits": bits, "data": words})
    for name, (value, bits) in CONSTANTS.items():
        words = plaintext(tool.encode(value, 2.0**bits))
        # A complex constant of SEAL's slots is none of ours, whose roots come in another order.
        real = not isinstance(value, complex)
        case = {"name": name, "constant": real, "values": pairs([value] * (1 if real else SLOTS))}
        cases.append(case | {"scale_bits": bits, "data": words})
    return {"cases": cases}


def circuit(tool):
    """Two encryptions, their product, rotations and the conjugate, each in words and decrypted."""
    rng, scale = random.Random(SEED + 1), 2.0**SCALE_BITS
    x, y = (random_values(rng, "complex", SLOTS, 1.0) for _ in range(2))
    a, b = tool.encrypt(x, scale), tool.encrypt(y, scale)
    product = tool.multiply(a, b)
    relinearised = tool.relinearize(product, tool.relin)
    results = {
        "x": a,
        "y": b,
        "product": product,
        "relinearised": relinearised,
        "rescaled": tool.rescale_to_next(relinearised),
        "conjugate": tool.complex_conjugate(a, tool.galois),
        **{f"rotated by {step}": tool.rotate_vector(a, step, tool.galois) for step in STEPS},
    }
    moved = {"conjugate": [v.conjugate() for v in x]}
    moved |= {f"rotated by {step}": x[step:] + x[:step] for step in STEPS}
    encoded = {name: tool.encode(values, scale) for name, values in {"x": x, **moved}.items()}
    return {
        "scale_bits": SCALE_BITS,
        "values": {"x": pairs(x), "y": pairs(y)},
        "encoded": {name: plaintext(each) for name, each in encoded.items()},
        "secret": plaintext(tool.secret.data()),
        "words": {name: ciphertext(each) for name, each in results.items()},
        "scales": {name: each.scale for name, each in results.items()},
        "decrypted": {name: pairs(tool.decrypt(each)) for name, each in results.items()},
    }


def text(vectors):
    """JSON with each list of numbers on a line of its own."""

    def line(found):
        return "[" + ", ".join(found[0][1:-1].replace(",", " ").split()) + "]"

    return re.sub(r"\[[\s\d.,e+-]*\]", line, json.dumps(vectors, indent=1)) + "\n"


VECTORS = {"ckks_encoding_tenseal.json": encodings, "ckks_circuit_tenseal.json": circuit}

if __name__ == "__main__":
    for name, make in VECTORS.items():
        head = {
            "tool": "TenSEAL, tenseal.sealapi (Microsoft SEAL)",
            "version": tenseal.__version__,
            "command": "python tests/vectors/ckks_tenseal.py",
            "seed": SEED,
            "ring_degree": DEGREE,
            "moduli": MODULI,
            "generator": GENERATOR,
        }
        (FOLDER / name).write_text(text(head | make(Tool())), encoding="utf-8")
