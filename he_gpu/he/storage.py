"""What is saved of keys and ciphertexts, and what is checked when it comes back.

Layer: he, beneath `ciphertext` and `context`, which have the methods. Uniform halves are saved as
their seeds. Words come back only below their primes, and only to the parameters and, for a
ciphertext, the key that they belong to. The checksum finds damage, not forgery: whoever can replace
a file can give it a checksum. Made-up halves of public keys and ciphertexts pass, as they look as
random as true ones; what is computed with them is garbage, and what is encrypted with such a public
key is its maker's. So what comes from elsewhere needs a channel that authenticates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from he_gpu.backend import Array
from he_gpu.errors import KeyMismatchError
from he_gpu.he import noise
from he_gpu.he.arithmetic import fits
from he_gpu.he.container import Header, Source, pack, unpack
from he_gpu.he.encoding import ENCODINGS
from he_gpu.he.evaluation_keys import EvaluationKeys, GaloisKeys
from he_gpu.he.keys import ID_BYTES, PublicKey, SecretKey
from he_gpu.he.ladder import Ladder
from he_gpu.he.parameters import CkksParams
from he_gpu.he.randomness import SEED_BYTES, Randomness, expand
from he_gpu.he.sampling import ERROR_BOUND
from he_gpu.he.switch_keys import GaloisKey, RelinKey
from he_gpu.ring import RnsRing

if TYPE_CHECKING:
    from he_gpu.he.ciphertext import Ciphertext

PUBLIC, SECRET, CIPHERTEXT = "a public context", "a secret key", "a ciphertext"
ENCRYPTION_LABEL = "ckks secret-key encryption"
_FIELDS = ("depth", "scale_bits", "security", "ring_degree", "public_queries")


class Saved(NamedTuple):
    """What a saved context holds.

    Attributes:
        params: of all keys.
        keys: the public ones.
        secret: the secret one, or None.
        randomness: a new one.
        published: how many results `decrypt_public` had given.
    """

    params: CkksParams
    keys: EvaluationKeys
    secret: SecretKey | None
    randomness: Randomness
    published: int


def of_public(params: CkksParams, keys: EvaluationKeys) -> bytes:
    """Return the bytes of all public keys there are."""
    host = keys.ladder.backend.to_numpy
    galois = {power: keys.galois.key(power) for power in keys.galois.powers}
    seeds = {"public": keys.public.seed.hex(), "relin": keys.relin.seed.hex()}
    seeds |= {str(power): key.seed.hex() for power, key in galois.items()}
    arrays = {"public": host(keys.public.half), "relin": host(keys.relin.half)}
    arrays |= {str(power): host(key.half) for power, key in galois.items()}
    return pack(PUBLIC, {**_header(params, keys), "seeds": seeds}, arrays)


def of_secret(params: CkksParams, keys: EvaluationKeys, secret: SecretKey, published: int) -> bytes:
    """Return the bytes of a secret key and its public one; all others can be made of it."""
    header = {
        **_header(params, keys),
        "seeds": {"public": keys.public.seed.hex()},
        "published": published,
    }
    half = keys.ladder.backend.to_numpy(keys.public.half)
    return pack(SECRET, header, {"public": half, "secret": secret.ternary()})


def of_ciphertext(ciphertext: Ciphertext) -> bytes:
    """Return the bytes of a ciphertext, with the seed in place of a half that has one."""
    keys, seed = ciphertext.keys, ciphertext.seed
    header = {
        "digest": keys.ladder.chain.digest.hex(),
        "key": keys.public.key_id.hex(),
        "level": ciphertext.level,
        "n_values": ciphertext.n_values,
        "span": ciphertext.span,
        "is_real": ciphertext.is_real,
        "leftovers": ciphertext.leftovers,
        "packing": ciphertext.packing,
        "size": float(ciphertext.size),
        "error": float(ciphertext.error),
        "seed": None if seed is None else seed.hex(),
    }
    components = ciphertext.components if seed is None else ciphertext.components[0]
    return pack(CIPHERTEXT, header, {"components": keys.ladder.backend.to_numpy(components)})


def context_of(source: Source, device: str, function: str) -> Saved:
    """Return what `of_public` or `of_secret` saved.

    Raises:
        ValueError: neither of the two, damaged, with parameters that this release would choose
            otherwise, or a secret key beside the public one of another.
    """
    header, arrays = unpack(source, (PUBLIC, SECRET), function)
    params = _parameters(header, function)
    if "public" not in arrays or arrays["public"].shape[-1:] != (params.ring_degree,):
        raise header.wrong("arrays")  # before a small file makes large tables
    ladder = Ladder(params.chain, device)
    randomness = Randomness(ladder.backend, None, "loaded")
    seeds = header.get("seeds", dict)

    def seed_of(name: str) -> bytes:
        return header.octets_of("seeds", seeds.get(name), SEED_BYTES)

    def words_of(name: str, leading: tuple[int, ...], ring: RnsRing) -> Array:
        return _words(header, arrays.get(name), leading, ring, name)

    public = PublicKey(ladder, words_of("public", (), ladder.fresh), seed_of("public"))
    if public.key_id != header.octets("key", ID_BYTES):
        raise header.wrong("key")
    if header.text("kind") == SECRET:
        if set(arrays) != {"public", "secret"}:
            raise header.wrong("arrays")
        secret = SecretKey.of_ternary(ladder, _ternary(header, arrays.get("secret"), ladder))
        if not _belongs(ladder, public, secret):
            raise KeyMismatchError(f"{function}: the public key is that of another secret key")
        published = header.integer("published", 0, params.public_queries)
        keys = EvaluationKeys.of_secret(ladder, public, secret, randomness)
        return Saved(params, keys, secret, randomness, published)

    digits = (len(ladder.digits),)
    relin = RelinKey(ladder, words_of("relin", digits, ladder.whole), seed_of("relin"))
    galois = {}
    for name in arrays:
        if name not in ("public", "relin"):
            power = _power(header, name, ladder.ring_degree)
            half = words_of(name, digits, ladder.whole)
            galois[power] = GaloisKey(ladder, half, seed_of(name))
    keys = EvaluationKeys(ladder, public, relin, GaloisKeys(ladder.ring_degree, galois))
    return Saved(params, keys, None, randomness, 0)


def ciphertext_of(source: Source, keys: EvaluationKeys, function: str) -> dict[str, Any]:
    """Return a saved ciphertext's attributes.

    Raises:
        ValueError: no ciphertext, a damaged one, or one of other parameters or another key.
    """
    header, arrays = unpack(source, (CIPHERTEXT,), function)
    ladder = keys.ladder
    if header.octets("digest", 32) != ladder.chain.digest:
        raise KeyMismatchError(f"{function}: the ciphertext has other parameters")
    if header.octets("key", ID_BYTES) != keys.public.key_id:
        raise KeyMismatchError(f"{function}: the ciphertext has another secret key")
    level, packing = header.integer("level", 0, ladder.depth), header.text("packing")
    if packing not in ENCODINGS:
        raise header.wrong("packing")
    polynomial = packing == "coefficients"
    slots = ladder.ring_degree if polynomial else ladder.ring_degree // 2
    n_values = header.integer("n_values", slots if polynomial else 1, slots)
    span, leftovers = header.integer("span", n_values, slots), header.get("leftovers", bool)
    if leftovers and span == n_values:
        raise header.wrong("leftovers")
    is_real = header.get("is_real", bool)
    if polynomial and not is_real:
        raise header.wrong("is_real")
    size, error = header.real("size"), max(header.real("error"), noise.least(ladder.chain, level))
    if not fits(ladder, level, size + error):
        raise header.wrong("size")
    if set(arrays) != {"components"}:
        raise header.wrong("arrays")
    ring, found = ladder.ring(level), arrays["components"]
    if header.get("seed", str, type(None)) is None:
        seed, components = None, _words(header, found, (2,), ring, "components")
    else:
        seed = header.octets("seed", SEED_BYTES)
        half = _words(header, found, (), ring, "components")
        components = ladder.backend.xp.stack((half, expand(seed, ENCRYPTION_LABEL, (), ring)))
    return {
        "components": components,
        "level": level,
        "n_values": n_values,
        "span": span,
        "is_real": is_real,
        "leftovers": leftovers,
        "packing": packing,
        "size": size,
        "error": error,
        "keys": keys,
        "seed": seed,
    }


def _header(params: CkksParams, keys: EvaluationKeys) -> dict[str, Any]:
    return {
        "parameters": {name: getattr(params, name) for name in _FIELDS},
        "digest": params.digest.hex(),
        "key": keys.public.key_id.hex(),
    }


def _parameters(header: Header, function: str) -> CkksParams:
    fields = header.get("parameters", dict)
    if set(fields) != set(_FIELDS):
        raise header.wrong("parameters")
    try:
        params = CkksParams(**fields)
    except (TypeError, ValueError) as error:
        raise KeyMismatchError(f"{function}: these parameters are refused: {error}") from None
    if params.digest != header.octets("digest", 32):
        raise KeyMismatchError(
            f"{function}: the saved keys belong to other primes than this release chooses for "
            f"{params}"
        )
    return params


def _words(
    header: Header, found: Array | None, leading: tuple[int, ...], ring: RnsRing, name: str
) -> Array:
    """Return words on the ring's device, each below its prime."""
    shape = (*leading, len(ring.moduli), ring.ring_degree)
    if found is None or found.dtype != np.uint32 or found.shape != shape:
        raise header.wrong("arrays")
    if not (found < np.array(ring.moduli, np.uint32)[:, None]).all():
        raise header.too_large(name)
    return ring.backend.asarray(found.astype(np.uint32))


def _ternary(header: Header, found: Array | None, ladder: Ladder) -> Array:
    if found is None or found.dtype != np.int8 or found.shape != (ladder.ring_degree,):
        raise header.wrong("arrays")
    if np.abs(found.astype(np.int64)).max() > 1:
        raise header.too_large("secret")
    return found


def _belongs(ladder: Ladder, public: PublicKey, secret: SecretKey) -> bool:
    """Return whether a public key is an encryption of zero: b + a s is as small as errors are."""
    ring, host = ladder.fresh, ladder.backend.to_numpy
    limbs = ladder.limbs(ladder.depth)
    values = ladder.backend.xp.concatenate((secret.values(limbs), secret.values()[-1:]))
    errors = host(ring.intt(ring.add(public.values[0], ring.mul(public.values[1], values))))
    q = np.array(ring.moduli, np.uint32)[:, None]
    return bool((np.minimum(errors, q - errors) <= ERROR_BOUND).all())


def _power(header: Header, name: str, ring_degree: int) -> int:
    """Return the automorphism that a Galois key serves."""
    power = int(name) if name.isascii() and name.isdigit() and len(name) < 9 else 0
    if power % 2 == 0 or not 1 < power < 2 * ring_degree or name != str(power):
        raise header.wrong("arrays")
    return power
