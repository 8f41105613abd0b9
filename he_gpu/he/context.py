"""CKKS as its users see it: a context that encrypts and decrypts, and one that computes alone.

Layer: he, the topmost. Reals and complex numbers enter and leave here; operators are those of
`Ciphertext`.
Source: Cheon, Kim, Kim, Song, ASIACRYPT 2017; Li and Micciancio, EUROCRYPT 2021 (what a decrypted
result says about the key).
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterable
from typing import Any, NoReturn

import numpy as np

from he_gpu.backend import Array, to_host
from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    NoSecretKeyError,
    SecretAccessError,
)
from he_gpu.he import noise, storage
from he_gpu.he.arithmetic import check_fits
from he_gpu.he.ciphertext import Ciphertext
from he_gpu.he.container import Source, write
from he_gpu.he.encoding import decode, encode, limbs_for, reduced
from he_gpu.he.keys import (
    EvaluationKeys,
    PublicKey,
    SecretKey,
    powers_of_two,
)
from he_gpu.he.ladder import Ladder
from he_gpu.he.parameters import CkksParams
from he_gpu.he.randomness import Randomness, expand
from he_gpu.he.storage import ENCRYPTION_LABEL


class Ckks:
    """Keys of CKKS and what they do: this context holds the secret one.

    Args:
        params: how large and how deep.
        device: "auto", "cpu", "cuda", "cuda:N" or "emulator".
        seed: None draws keys and errors from the operating system. An int makes them repeatable,
            warns, and protects nothing: for tests and benchmarks.

    Raises:
        ValueError: a device that means nothing.
        RuntimeError: a device that this machine lacks.
        TypeError: params are none.

    Attributes:
        params: as given.

    Leaks: of a ciphertext everything but the values: level, length, whether they are real, and a
        bound on their size, which is the power of two above the largest, 1 at least.

    Example:
        >>> import numpy as np
        >>> context = Ckks(CkksParams(depth=2, scale_bits=35), device="cpu")
        >>> context.ring_degree, context.slots, context.depth, context.device
        (8192, 4096, 2, 'cpu')
        >>> party = context.public(rotations=[1, 2])  # for whoever computes
        >>> party.has_secret_key, party.keys is context.keys
        (False, False)
        >>> x = party.encrypt([1.0, 2.0, 3.0])
        >>> y = context.encrypt_with_secret_key([0.5, -1.0, 0.25])
        >>> result = (x * y).rotate(1) + 1
        >>> context.decrypt(result).round(3)
        array([-1.  ,  1.75,  1.  ])
        >>> party.decrypt(result)
        Traceback (most recent call last):
        ...
        he_gpu.errors.NoSecretKeyError: Ckks.decrypt: this context has no secret key; ...
        >>> other = Ckks.load(party.serialize(), device="cpu")  # in the other party's process
        >>> received = other.load_ciphertext(x.serialize())
        >>> context.decrypt(context.load_ciphertext((-received).serialize())).round(3)
        array([-1., -2., -3.])
    """

    def __init__(self, params: CkksParams, device: str = "auto", seed: int | None = None):
        if not isinstance(params, CkksParams):
            raise ArgumentTypeError(f"Ckks: params must be CkksParams, got {type(params).__name__}")
        ladder = Ladder(params.chain, device)
        randomness = Randomness(ladder.backend, seed, "key holder")
        secret = SecretKey(ladder, randomness)
        public = PublicKey.of(ladder, secret, randomness)
        keys = EvaluationKeys.of_secret(ladder, public, secret, randomness)
        self._set(params, keys, secret, randomness, 0, seed)

    def _set(
        self,
        params: CkksParams,
        keys: EvaluationKeys,
        secret: SecretKey | None,
        randomness: Randomness,
        published: int,
        seed: int | None = None,
    ) -> None:
        self.params, self._keys, self._secret = params, keys, secret
        self._randomness, self._seed, self._shared = randomness, seed, 0
        self._queries = 0 if secret is None else params.public_queries
        self._asked, self._lock = published, threading.Lock()

    # What it is

    @property
    def keys(self) -> EvaluationKeys:
        """The public keys, which compute and encrypt."""
        return self._keys

    @property
    def has_secret_key(self) -> bool:
        """Whether this context can decrypt."""
        return self._secret is not None

    @property
    def device(self) -> str:
        """Name of the device, with "auto" resolved."""
        return self._keys.ladder.backend.name

    @property
    def depth(self) -> int:
        """How many products one after another a fresh ciphertext allows."""
        return self._keys.ladder.depth

    @property
    def ring_degree(self) -> int:
        """N."""
        return self._keys.ladder.ring_degree

    @property
    def slots(self) -> int:
        """Length of the longest vector that fits a ciphertext: N / 2."""
        return self.ring_degree // 2

    def public(self, rotations: Iterable[int] | None = None, *, conjugation: bool = True) -> Ckks:
        """Return a context for the party without the secret key: it encrypts and computes.

        Args:
            rotations: to the left, that get keys of their own. None means the powers of two to
                either side, from which `Ciphertext.rotate` makes all others.
            conjugation: whether it gets the key of `Ciphertext.conjugate`.

        Cost: makes the keys that this context has not made yet; 26 at N = 2**14.
        """
        keys, wanted = self._keys, rotations
        if wanted is None:
            wanted = powers_of_two(self.ring_degree)
        self._shared += 1
        context = Ckks.__new__(Ckks)
        randomness = Randomness(keys.ladder.backend, self._seed, f"party {self._shared}")
        shared = keys._replace(galois=keys.galois.shared(wanted, conjugation))
        context._set(self.params, shared, None, randomness, 0, self._seed)
        return context

    # Files

    def serialize(self, *, secret_key: bool = False) -> bytes:
        """Return this context as bytes, without the secret key unless that is asked for.

        Args:
            secret_key: False gives all public keys made so far, for the party that computes (see
                `public`). True gives the secret key, unencrypted, with the public one and the count
                of published results as it is now; `load` makes the other keys anew.

        Raises:
            PermissionError: secret_key, and this context has none.

        Leaks: with secret_key, everything that was or will be encrypted, to whoever reads it.
        """
        if not secret_key:
            return storage.of_public(self.params, self._keys)
        secret = self._need_secret("serialize")
        return storage.of_secret(self.params, self._keys, secret, self._asked)

    def save(self, path: str | os.PathLike[str], *, secret_key: bool = False) -> None:
        """Write what `serialize` returns to a file, whole or not at all.

        Args:
            path: of the file; one that is there is replaced.
            secret_key: as for `serialize`. That file is unencrypted, and only its owner may read it
                (mode 0600).

        Raises:
            PermissionError: as `serialize`.
            OSError: it cannot be written.

        Example:
            >>> import tempfile
            >>> context = Ckks(CkksParams(depth=0, scale_bits=24), "cpu")
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     context.save(f"{folder}/secret.key", secret_key=True)
            ...     Ckks.load(f"{folder}/secret.key", device="cpu")
            <Ckks with the secret key, N = 2048, depth 0, cpu>
        """
        write(path, self.serialize(secret_key=secret_key), private=secret_key)

    @classmethod
    def load(cls, source: Source, device: str = "auto") -> Ckks:
        """Return a saved context: with the secret key where that was saved, else a public one.

        Args:
            source: the path of a file, or the bytes of `serialize`.
            device: as for a new context.

        Raises:
            ValueError: bytes that are no saved context, damaged, of another version of the format
                or with other primes than this release chooses; a device that means nothing.
            RuntimeError: a device that this machine lacks.
            TypeError: neither bytes nor a path.
            OSError: a file that cannot be read.

        Error: the checksum finds damage, but anybody can make a file; what comes from elsewhere
            needs a channel that authenticates.
        """
        saved = storage.context_of(source, device, "Ckks.load")
        context = cls.__new__(cls)
        context._set(*saved)
        return context

    def load_ciphertext(self, source: Source) -> Ciphertext:
        """Return a saved ciphertext, on this context's device.

        Args:
            source: the path of a file, or the bytes of `Ciphertext.serialize`.

        Raises:
            ValueError: bytes that are no saved ciphertext, damaged, or of another version of the
                format; a ciphertext of other parameters or another key.
            TypeError: neither bytes nor a path.
            OSError: a file that cannot be read.

        Error: its size and error are those that the file states; see `load` on who wrote it.
        """
        fields = storage.ciphertext_of(source, self._keys, "Ckks.load_ciphertext")
        return Ciphertext(**fields)

    # Encryption

    def encrypt(self, values: Any) -> Ciphertext:
        """Encrypt a vector with the public key.

        Args:
            values: up to `slots` real or complex numbers; the other slots are zero.

        Raises:
            TypeError: no numbers.
            ValueError: no vector, too long a one, NaN or infinity, or numbers too large for the
                parameters.

        Error: `noise.fresh_public`, and `Ciphertext.precision_bits` says what it means.
        """
        ladder = self._keys.ladder
        numbers, size = _vector(values, ladder.ring_degree // 2, "encrypt")
        level, degree = ladder.depth, ladder.ring_degree
        ring, scale = ladder.ring(level), ladder.scale(level)
        error = noise.fresh_public(size, scale, degree, ladder.spare.modulus)
        check_fits(ladder, level, size, error, "encrypt")
        message = encode(numbers, scale, ring)
        words = self._keys.public.encrypt(ladder, message, self._randomness)
        return self._fresh(words, numbers, size, error)

    def encrypt_with_secret_key(self, values: Any) -> Ciphertext:
        """Encrypt a vector with the secret key: less error, and half the size when saved.

        Args, Raises: as `encrypt`.

        Raises:
            PermissionError: this context has no secret key.

        Error: `noise.fresh_secret`.
        """
        secret = self._need_secret("encrypt_with_secret_key")
        ladder, draw = self._keys.ladder, self._randomness
        numbers, size = _vector(values, self.slots, "encrypt_with_secret_key")
        level, degree = ladder.depth, ladder.ring_degree
        ring, scale = ladder.ring(level), ladder.scale(level)
        error = noise.fresh_secret(size, scale, degree)
        check_fits(ladder, level, size, error, "encrypt_with_secret_key")
        seed = draw.published_seed()
        uniform = expand(seed, ENCRYPTION_LABEL, (), ring)
        noisy = ring.add(ladder.small(ring, draw.error((degree,))), encode(numbers, scale, ring))
        first = ring.sub(ring.ntt(noisy), ring.mul(uniform, secret.values(ladder.limbs(level))))
        components = ladder.backend.xp.stack((first, uniform))
        return self._fresh(components, numbers, size, error).replace(seed=seed)

    # Decryption

    def decrypt(self, ciphertext: Ciphertext) -> Array:
        """Return a ciphertext's values, for the holder of the secret key alone.

        What CKKS decrypts to carries the encryption's error, and from results with their low bits
        the secret key can be computed (Li and Micciancio 2021). A result that leaves the key
        holder must come from `decrypt_public`.

        Args:
            ciphertext: of this context's key, from whichever context.

        Returns:
            float64 (n,) for real values, complex128 otherwise.

        Raises:
            PermissionError: this context has no secret key.
            TypeError: no ciphertext.
            ValueError: a ciphertext of other parameters or another key.

        Error: `Ciphertext.error`.
        Leaks: to whoever sees the result, something about the secret key.
        """
        secret = self._need_secret("decrypt")
        self._check(ciphertext, "decrypt")
        return self._decoded(ciphertext, secret, 0.0)

    def decrypt_public(self, ciphertext: Ciphertext) -> Array:
        """Return a ciphertext's values flooded with noise, so that they may leave the key holder.

        Normal noise hides the error that the bound allows at worst, in every coefficient of the
        polynomial and for as many results as ``CkksParams(public_queries=)`` says.

        Args:
            ciphertext: as for `decrypt`, and computed as its bounds say: by ciphertexts' operators
                from encryptions whose values were within the size that they state.

        Returns:
            As `decrypt`.

        Raises:
            PermissionError: this context has no secret key.
            TypeError: no ciphertext.
            ValueError: a ciphertext of other parameters or another key; parameters without
                public_queries, or all of them spent.

        Error: `noise.flooded` of `Ciphertext.error`.
        Leaks: the values; of the error, what `noise.STATISTICAL_BITS` says.

        Example:
            >>> context = Ckks(CkksParams(depth=1, scale_bits=30, public_queries=10), "cpu")
            >>> total = (context.encrypt([1.0, 2.0, 3.0]) * 0.5).sum()
            >>> context.decrypt_public(total).round(1)
            array([3.])
        """
        secret = self._need_secret("decrypt_public")
        self._check(ciphertext, "decrypt_public")
        degree = self.ring_degree
        published = noise.flooded(ciphertext.error, max(1, self._queries), degree)
        ladder, level = self._keys.ladder, ciphertext.level
        with self._lock:
            if self._asked >= self._queries:
                raise ArgumentValueError(
                    f"Ckks.decrypt_public: the parameters have public_queries={self._queries}, "
                    f"and {self._asked} results were published"
                )
            check_fits(ladder, level, ciphertext.size, published, "decrypt_public")
            self._asked += 1
        deviation = noise.flooding_deviation(ciphertext.error, self._queries, degree)
        return self._decoded(ciphertext, secret, deviation / math.sqrt(degree))

    # Beneath

    def _fresh(self, components: Array, numbers: Array, size: float, error: float) -> Ciphertext:
        is_real = numbers.dtype.kind != "c"
        n = len(numbers)
        return Ciphertext(components, self.depth, n, n, is_real, size, error, self._keys)

    def _decoded(self, ciphertext: Ciphertext, secret: SecretKey, deviation: float) -> Array:
        """Return decrypted values, with normal noise of a deviation in each coefficient."""
        ladder, scale = self._keys.ladder, ciphertext.scale
        moduli = ladder.ring(ciphertext.level).moduli
        largest = ciphertext.size + ciphertext.error + 9 * deviation * self.ring_degree
        ring = ladder.whole.over(moduli[: limbs_for(largest * float(scale), moduli)])
        limbs = len(ring.moduli)
        first, second = ciphertext.components[:, :limbs]
        words = ring.intt(ring.add(first, ring.mul(second, secret.values(limbs))))
        if deviation:
            flood = np.rint(self._randomness.normal((self.ring_degree,)) * deviation * float(scale))
            most = float(np.abs(flood).max())
            words = ring.add(words, ladder.backend.asarray(reduced(flood, most, ring.moduli)))
        values = decode(words, scale, ring, ciphertext.n_values, largest)
        return values.real.copy() if ciphertext.is_real else values

    def _need_secret(self, function: str) -> SecretKey:
        if self._secret is None:
            raise NoSecretKeyError(
                f"Ckks.{function}: this context has no secret key; the context that made it with "
                "public() has"
            )
        return self._secret

    def _check(self, ciphertext: Any, function: str) -> None:
        """Refuse what is no ciphertext of this context's parameters, key and device."""
        if not isinstance(ciphertext, Ciphertext):
            raise ArgumentTypeError(
                f"Ckks.{function}: a Ciphertext expected, got {type(ciphertext).__name__}"
            )
        self._keys.check_same(ciphertext.keys, f"Ckks.{function}")

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretAccessError("Ckks: cannot be pickled or copied, for its keys would go with it")

    def __repr__(self) -> str:
        kind = "with the secret key" if self.has_secret_key else "public"
        return f"<Ckks {kind}, N = {self.ring_degree}, depth {self.depth}, {self.device}>"


def _vector(values: Any, slots: int, function: str) -> tuple[Array, float]:
    """Return a vector as an array, and the power of two that bounds its size, 1 at least."""
    try:
        numbers = np.asarray(to_host(values))
    except ValueError as error:
        raise ArgumentValueError(f"Ckks.{function}: values are no vector ({error})") from None
    if numbers.dtype.kind not in "biufc":
        raise ArgumentTypeError(
            f"Ckks.{function}: values must be numbers, got dtype {numbers.dtype}"
        )
    if numbers.ndim != 1 or not 1 <= len(numbers) <= slots:
        raise ArgumentValueError(
            f"Ckks.{function}: values must be a vector of 1 to {slots} numbers, got shape "
            f"{numbers.shape}"
        )
    if not np.isfinite(numbers).all():
        raise ArgumentValueError(f"Ckks.{function}: values must be finite, got NaN or infinity")
    largest = float(np.abs(numbers).max())
    return numbers, 2.0 ** max(0, math.ceil(math.log2(largest))) if largest else 1.0
