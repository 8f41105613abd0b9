"""Microsoft SEAL's CKKS by seal-python, one thread, beside which ours is measured and compared."""

import numpy as np

try:
    import seal
except ImportError:
    seal = None

END_BITS = 60
"""Bits of the first prime and of the special one, as SEAL's examples have them."""
CONJUGATION = 0
"""The step that stands for it where keys are made."""


class Seal:
    """SEAL with keys of its own.

    Args:
        degree: N.
        bits: of the primes, the special one last; None takes those of a depth.
        depth: products one after another.
        scale_bits: of the scale, and of the primes between the first and the last.
        rotations: steps that get keys.
        secure: whether SEAL refuses what is below 128 bits.

    Raises:
        ImportError: seal-python is missing; `missing` says so beforehand.
    """

    def __init__(self, degree, depth=None, bits=None, scale_bits=40, rotations=(1,), secure=True):
        if seal is None:
            raise ImportError("seal-python is not installed; pip install '.[seal]'")
        if bits is None:
            bits = [END_BITS, *[scale_bits] * depth, END_BITS]
        self.bits, self.scale = list(bits), 2.0**scale_bits
        parameters = seal.EncryptionParameters(seal.scheme_type.ckks)
        parameters.set_poly_modulus_degree(degree)
        parameters.set_coeff_modulus(seal.CoeffModulus.Create(degree, self.bits))
        level = seal.sec_level_type.tc128 if secure else seal.sec_level_type.none
        self.context = seal.SEALContext(parameters, True, level)
        keys = seal.KeyGenerator(self.context)
        self.encryptor = seal.Encryptor(self.context, keys.create_public_key())
        self.decryptor = seal.Decryptor(self.context, keys.secret_key())
        self.evaluator = seal.Evaluator(self.context)
        self.encoder = seal.CKKSEncoder(self.context)
        self.relin, self.galois = keys.create_relin_keys(), seal.GaloisKeys()
        keys.create_galois_keys([CONJUGATION, *rotations], self.galois)

    def encode(self, values, level_of=None):
        """A plaintext at the highest level, or at a ciphertext's."""
        encode = self.encoder.encode_complex if np.iscomplexobj(values) else self.encoder.encode
        plain = encode(values, self.scale)
        if level_of is not None:
            plain = self.evaluator.mod_switch_to(plain, level_of.parms_id())
        return plain

    def encrypt(self, values):
        return self.encryptor.encrypt(self.encode(values))

    def decrypt(self, a):
        return np.asarray(self.encoder.decode_complex(self.decryptor.decrypt(a)))

    def decrypt_real(self, a):
        return np.asarray(self.encoder.decode(self.decryptor.decrypt(a)))

    def add(self, a, b):
        return self.evaluator.add(a, b)

    def sub(self, a, b):
        return self.evaluator.sub(a, b)

    def multiply(self, a, b):
        """The product, relinearised and rescaled."""
        product = self.evaluator.multiply(a, b)
        self.evaluator.relinearize_inplace(product, self.relin)
        self.evaluator.rescale_to_next_inplace(product)
        return product

    def multiply_plain(self, a, values):
        """The product with numbers, encoded and rescaled."""
        product = self.evaluator.multiply_plain(a, self.encode(values, a))
        self.evaluator.rescale_to_next_inplace(product)
        return product

    def rotate(self, a, steps):
        return self.evaluator.rotate_vector(a, steps, self.galois)

    def conjugate(self, a):
        return self.evaluator.complex_conjugate(a, self.galois)


def transforms(degree, bits):
    """SEAL's transforms of a ciphertext, there and back, and how many limbs that transforms.

    Args:
        degree: N.
        bits: of the primes, the special one last; security is not asked for.
    """
    parameters = seal.EncryptionParameters(seal.scheme_type.bfv)
    parameters.set_poly_modulus_degree(degree)
    parameters.set_coeff_modulus(seal.CoeffModulus.Create(degree, bits))
    parameters.set_plain_modulus(seal.PlainModulus.Batching(degree, 20))
    context = seal.SEALContext(parameters, True, seal.sec_level_type.none)
    public_key = seal.KeyGenerator(context).create_public_key()
    evaluator = seal.Evaluator(context)
    plain = seal.BatchEncoder(context).encode(list(range(degree)))
    ciphertext = seal.Encryptor(context, public_key).encrypt(plain)

    def both():
        evaluator.transform_to_ntt_inplace(ciphertext)
        evaluator.transform_from_ntt_inplace(ciphertext)

    return both, ciphertext.size() * ciphertext.coeff_modulus_size()
