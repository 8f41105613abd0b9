"""CKKS as its users see it: a context that encrypts and decrypts, and one that computes alone.

Layer: he, the topmost. Reals and complex numbers enter and leave here, by `encryption` and
`decryption`; operators are those of `Ciphertext`.
Source: Cheon, Kim, Kim, Song, ASIACRYPT 2017; Li and Micciancio, EUROCRYPT 2021 (what a decrypted
result says about the key).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any, NoReturn

from he_gpu.backend import Array
from he_gpu.errors import ArgumentTypeError, NoSecretKeyError, SecretAccessError
from he_gpu.he import decryption, encryption, storage
from he_gpu.he.ciphertext import Ciphertext
from he_gpu.he.container import Source, write
from he_gpu.he.decryption import Publications
from he_gpu.he.evaluation_keys import EvaluationKeys, powers_of_two
from he_gpu.he.keys import PublicKey, SecretKey
from he_gpu.he.ladder import Ladder
from he_gpu.he.parameters import CkksParams
from he_gpu.he.randomness import Randomness


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
        self._set(params, keys, secret, randomness)

    def _set(
        self,
        params: CkksParams,
        keys: EvaluationKeys,
        secret: SecretKey | None,
        randomness: Randomness,
        published: int = 0,
    ) -> None:
        self.params, self._keys, self._secret, self._randomness = params, keys, secret, randomness
        limit = 0 if secret is None else params.public_queries
        self._publications = Publications(limit, published)

    # What it is

    @property
    def keys(self) -> EvaluationKeys:
        """The public keys, which compute and encrypt.

        Those of the secret key's holder make further ones when needed, and refer to it for that:
        they, and ciphertexts that have them, go to another party by `serialize` alone.
        """
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
        context = Ckks.__new__(Ckks)
        shared = keys._replace(galois=keys.galois.shared(wanted, conjugation))
        context._set(self.params, shared, None, self._randomness.another("party"))
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

        Leaks: with secret_key, everything that was or will be encrypted, to whoever reads it. Each
            context that is loaded of it counts published results by itself: the promise of
            `decrypt_public` needs that one alone is used, and saved again after it published.
        """
        if not secret_key:
            return storage.of_public(self.params, self._keys)
        secret = self._need_secret("serialize")
        return storage.of_secret(self.params, self._keys, secret, self._publications.count)

    def save(self, path: str | os.PathLike[str], *, secret_key: bool = False) -> None:
        """Write what `serialize` returns to a file, whole or not at all, in place of another.

        Args:
            path: of the file.
            secret_key: as for `serialize`; only the file's owner may read it then (mode 0600).

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

        Error: its size and error are those that the file states, the error no less than an honest
            one can be; see `load` on who wrote it, and `decrypt_public` on what it may do.
        """
        fields = storage.ciphertext_of(source, self._keys, "Ckks.load_ciphertext")
        return Ciphertext(**fields)

    # Encryption

    def encrypt(self, values: Any, *, packing: str = "slots") -> Ciphertext:
        """Encrypt a vector with the public key.

        Args:
            values: up to `slots` real or complex numbers; the other slots are zero.
            packing: "coefficients" takes up to N real numbers as those of a polynomial, the lowest
                power first. Products are negacyclic convolutions then, and decryption gives all N.

        Raises:
            TypeError: no numbers, or complex coefficients.
            ValueError: no vector, too long a one, NaN or infinity, or numbers too large for the
                parameters; a packing that means nothing.

        Error: `noise.fresh_public`, and `Ciphertext.precision_bits` says what it means.

        Example:
            >>> context = Ckks(CkksParams(depth=1), "cpu")
            >>> x = context.encrypt([1.0, 2.0, 3.0], packing="coefficients")
            >>> y = x * [3.0, 2.0, 1.0]  # coefficient 2 is the inner product, without rotations
            >>> context.decrypt(y)[:5].round(3)
            array([ 3.,  8., 14.,  8.,  3.])
        """
        return encryption.with_public_key(values, packing, self._keys, self._randomness)

    def encrypt_with_secret_key(self, values: Any, *, packing: str = "slots") -> Ciphertext:
        """Encrypt a vector with the secret key: less error, and half the size when saved.

        Args, Raises: as `encrypt`.

        Raises:
            PermissionError: this context has no secret key.

        Error: `noise.fresh_secret`.
        """
        secret = self._need_secret("encrypt_with_secret_key")
        return encryption.with_secret_key(values, packing, self._keys, secret, self._randomness)

    # Decryption

    def decrypt(self, ciphertext: Ciphertext) -> Array:
        """Return a ciphertext's values, for the holder of the secret key alone.

        What CKKS decrypts to carries the encryption's error, and from results with their low bits
        the secret key can be computed (Li and Micciancio 2021). A result that leaves the key
        holder, or that shows in what the holder does next, must come from `decrypt_public`.

        Args:
            ciphertext: of this context's key, from whichever context.

        Returns:
            float64 (n,) for real values, complex128 otherwise.

        Raises:
            PermissionError: this context has no secret key.
            TypeError: no ciphertext.
            ValueError: a ciphertext of other parameters or another key; values beyond the size that
                it states, as after a `Ciphertext.replace` that was wrong.

        Error: `noise.decryption` of `Ciphertext.error`: little more, but for numbers that are
            precise to nearly all bits of float64.
        Leaks: to whoever sees the result, something about the secret key. Nothing proves how a
            ciphertext was computed, and one that was made for it decrypts to the key itself.
        """
        secret = self._need_secret("decrypt")
        decryption.check(ciphertext, self._keys, "decrypt")
        return decryption.private(ciphertext, secret)

    def decrypt_public(self, ciphertext: Ciphertext) -> Array:
        """Return a ciphertext's values flooded with noise, so that they may leave the key holder.

        Normal noise hides the error that the bound allows at worst, for as many results as
        ``CkksParams(public_queries=)`` says, all of one key together. The fewer values a ciphertext
        has, the less noise that takes.

        It protects from who computes honestly, and from who only sees results. Whoever may send
        ciphertexts that were not computed as they state, and sees what they decrypt to, gets
        whatever is encrypted, and the secret key.

        Args:
            ciphertext: as for `decrypt`, and computed as its bounds say: by ciphertexts' operators
                from encryptions whose values were within the size that they state.

        Returns:
            As `decrypt`.

        Raises:
            PermissionError: this context has no secret key.
            TypeError: no ciphertext.
            ValueError: a ciphertext of other parameters or another key; parameters without
                public_queries, or all of them spent; noise that its level cannot hold; values
                beyond the size that it states, which count as a result.

        Error: `noise.decryption` of `flooding.flooded` of `Ciphertext.error`.
        Leaks: the values; of the error, what `flooding.deviation` says.

        Example:
            >>> context = Ckks(CkksParams(depth=1, scale_bits=30, public_queries=10), "cpu")
            >>> total = (context.encrypt([1.0, 2.0, 3.0]) * 0.5).sum()
            >>> context.decrypt_public(total).round(2)
            array([3.])
        """
        secret = self._need_secret("decrypt_public")
        decryption.check(ciphertext, self._keys, "decrypt_public")
        return decryption.public(ciphertext, secret, self._publications, self._randomness)

    # Beneath

    def _need_secret(self, function: str) -> SecretKey:
        if self._secret is None:
            raise NoSecretKeyError(
                f"Ckks.{function}: this context has no secret key; the context that made it with "
                "public() has"
            )
        return self._secret

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretAccessError("Ckks: cannot be pickled or copied, for its keys would go with it")

    def __repr__(self) -> str:
        kind = "with the secret key" if self.has_secret_key else "public"
        return f"<Ckks {kind}, N = {self.ring_degree}, depth {self.depth}, {self.device}>"
