"""A session: parties, ring, device and keys, under which secrets are shared and computed with.

Layer: session, above mpc. Reals enter and leave here; what happens between is `tensor`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from he_gpu.backend import Backend, get_backend
from he_gpu.channel import Cost, LocalChannel
from he_gpu.errors import (
    ArgumentTypeError,
    ArgumentValueError,
    SecretAccessError,
    SessionClosedError,
)
from he_gpu.mpc import Additive, Plain, Replicated, Scheme
from he_gpu.ring import KeyRing
from he_gpu.ring.fixedpoint import as_reals, check_frac_bits, encode, word_bits
from he_gpu.ring.integers import check_modulus
from he_gpu.tensor import SecretTensor
from he_gpu.tensor.captured import Captured

if TYPE_CHECKING:
    from types import TracebackType

PROTOCOLS = ("additive", "replicated", "plain")
_PARTIES = {"plain": 1, "replicated": 3}
"""Where a protocol has a fixed number of parties."""
_NAMES = ("alice", "bob", "carol")
_current: ContextVar[Session | None] = ContextVar("he_gpu_session", default=None)


def current_session() -> Session | None:
    """Return the innermost session entered by ``with``, or None.

    Example:
        >>> with Session(device="cpu") as session:
        ...     current_session() is session
        True
        >>> current_session() is None
        True
    """
    return _current.get()


class Session:
    """Parties that hold shares of fixed-point numbers and compute on them.

    Every party lives in this process and all shares lie on one device, so a session protects
    nobody from the owner of this process or device: it shows, tests and measures the protocols.
    It serves one thread at a time, and the process that made it.

    Args:
        protocol: "additive" (n out of n shares, a trusted dealer), "replicated" (three parties of
            whom two are honest, no dealer) or "plain" (one party, no secrecy; checks ranges and
            serves as the oracle).
        parties: their names, or how many there are. None means alice and bob, with carol for
            "replicated", or one for "plain".
        modulus: 2**64 or 2**32.
        frac_bits: fraction bits of the encoding; 0 <= 2 frac_bits < log2(modulus) - 2.
        device: "auto", "cpu", "cuda", "cuda:N" or "emulator".
        seed: None draws keys from the operating system. An int makes every share and mask
            repeatable, warns, and protects nothing: for tests and benchmarks.
        graph: whether steps that are repeated become one CUDA graph, see `captured`. Training
            steps of models do then where they can. Randomness is made step by step, so that
            shares under one seed are not those of graph=False.

    Raises:
        ValueError: a protocol, modulus, number of parties, name or device that does not exist.
        TypeError: arguments of the wrong type.
        RuntimeError: a device that this machine lacks.

    Leaks: what is revealed, and what each operation lists. Up to n - 1 semi-honest parties of
        "additive" learn nothing else, if the dealer colludes with nobody; nor does one of
        "replicated".

    Example:
        >>> session = Session(parties=("alice", "bob", "carol"), device="cpu")
        >>> session.n_parties, session.device
        (3, 'cpu')
        >>> x = session.share([1.0, 2.0, 3.0], owner="bob")
        >>> for step in session.steps(2):
        ...     x = x * x
        >>> x.reveal().round(2).tolist()
        [1.0, 16.0, 81.0]
        >>> session.cost.rounds  # two products and the opening
        5
        >>> session.close()
        >>> session.closed
        True
    """

    def __init__(
        self,
        protocol: str = "additive",
        parties: int | Sequence[str] | None = None,
        modulus: int = 2**64,
        frac_bits: int = 16,
        device: str = "auto",
        seed: int | None = None,
        graph: bool = False,
    ):
        self._closed = False
        self._tokens: list[Token[Session | None]] = []
        if protocol not in PROTOCOLS:
            raise ArgumentValueError(
                f"Session: protocol must be one of {PROTOCOLS}, got {protocol!r}"
            )
        self.protocol = protocol
        self.parties = _party_names(parties, protocol)
        self.modulus = check_modulus(modulus, "Session")
        if self.modulus not in (2**64, 2**32):
            raise ArgumentValueError(f"Session: modulus must be 2**64 or 2**32, got {modulus}")
        self.frac_bits = check_frac_bits(frac_bits, self.modulus, "Session")
        self._backend = get_backend(device)
        if not isinstance(graph, bool):
            raise ArgumentTypeError(f"Session: graph must be a bool, got {type(graph).__name__}")
        self.graph = graph
        self._keys = keys = KeyRing(seed)
        self._scheme: Scheme
        if protocol == "plain":
            self._scheme = Plain(self._backend, self.modulus)
        else:
            channel = LocalChannel(len(self.parties))
            kind = Replicated if protocol == "replicated" else Additive
            self._scheme = kind(keys, self._backend, self.modulus, channel)

    @property
    def device(self) -> str:
        """Name of the device, with "auto" resolved."""
        return self._backend.name

    @property
    def n_parties(self) -> int:
        """Number of parties."""
        return len(self.parties)

    @property
    def cost(self) -> Cost:
        """Rounds, bytes sent online by each party, and bytes from the dealer, so far."""
        return self._scheme.cost

    @property
    def closed(self) -> bool:
        """Whether close() was called."""
        return self._closed

    def share(self, x: Any, owner: str | None = None) -> SecretTensor:
        """Share real numbers among the parties.

        Args:
            x: real scalar, nested lists or array of any shape; |x| < 2**(k - 2 - 2 frac_bits)
                modulo 2**k, so below 2**30 by default.
            owner: name of the party that inputs x; the first by default.

        Returns:
            A SecretTensor of x's shape, rounded to frac_bits.

        Raises:
            ValueError: NaN, infinity, a value out of range, an owner that is no party.
            TypeError: anything but real numbers; a SecretTensor.
            RuntimeError: the session is closed.

        Error: half a unit of 2**-frac_bits; integers beyond 2**53 are first rounded to float64.
        Cost: none online with "additive": the others' shares come from keys that they hold with
            the owner; with "replicated" 1 round, and the owner sends one word.
        Leaks: the shape.
        """
        self.check_open("share")
        if isinstance(x, SecretTensor):
            raise ArgumentTypeError("share: x is a SecretTensor already")
        index = 0
        if owner is not None:
            if owner not in self.parties:
                raise ArgumentValueError(
                    f"share: owner must be one of {self.parties}, got {owner!r}"
                )
            index = self.parties.index(owner)
        limit = word_bits(self.modulus) - 2 - 2 * self.frac_bits
        reals = as_reals(x, "share", "x")
        words = encode(reals, self.frac_bits, limit, self.modulus, "share", "x")
        stack = self._scheme.share(self._backend.asarray(words), index)
        return SecretTensor(self, stack, self.frac_bits)

    def steps(self, n: int) -> Generator[int, int | None, None]:
        """Count from 0 to n - 1 while the dealer prepares equal steps in bulk.

        Inside the loop each product and truncation that needs correlations for the second time gets
        them for all remaining steps at once, in pieces of a few MiB. Results are distributed as
        without it.

        Args:
            n: number of steps, each asking for the same shapes.
        """
        self.check_open("steps")
        if isinstance(n, bool) or not isinstance(n, int | np.integer):
            raise ArgumentTypeError(f"steps: n must be an integer, got {type(n).__name__}")
        if n < 0:
            raise ArgumentValueError(f"steps: n must be at least 0, got {n}")
        return self._count(int(n))

    def captured(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """Return a step that a GPU repeats by itself, where the session has graph=True.

        Its third call with tensors of the same shapes and fraction bits becomes a CUDA graph; later
        ones copy their operands, start it and copy the results, and the step's own code does not
        run. Shares, costs and randomness are those that the step would have had. With graph=False,
        on the CPU and with protocol="plain", each call is the step itself.

        Args:
            step: a function of SecretTensors that returns one, or a tuple of them. It must do the
                same each time, and reveal nothing: all that it reads besides its operands, public
                numbers and other tensors alike, is for ever as at its third call. Of what it makes
                only its results outlive it; a tensor that it leaves elsewhere changes.

        Returns:
            A function of the same operands. A mask of an operand stays, one of a result does not.

        Raises:
            CaptureError: at the second or third call, a step that reveals or reads; at the third,
                one that differs from the second in what it computes, in public operands, or in
                tensors that are no operands.
            TypeError: operands or results that are no SecretTensors.

        Cost: as the step, and a copy of operands and results; the device memory of one step is
            kept for each kind of operands. Calls on several streams of CuPy must wait for one
            another.
        Leaks: as the step.

        Example:
            >>> with Session(device="cpu", graph=True) as session:
            ...     halve = session.captured(lambda x: x * 0.5)
            ...     x = session.share([8.0, 4.0])
            ...     for _ in session.steps(3):
            ...         x = halve(x)
            ...     x.reveal().round(2).tolist()
            [1.0, 0.5]
        """
        self.check_open("captured")
        if not callable(step):
            raise ArgumentTypeError(f"captured: step must be callable, got {type(step).__name__}")
        return Captured(self, step)

    def _count(self, n: int) -> Generator[int, int | None, None]:
        """Count; what is sent are steps to leave out, as they were taken together with this one."""
        try:
            step = 0
            while step < n:
                self._scheme.expect(n - step, singly=self.graph)
                taken = yield step
                if taken:
                    yield step  # to the sender
                step += 1 + (taken or 0)
        finally:
            self._scheme.expect(0)

    def close(self) -> None:
        """End the session: its tensors can be neither computed with nor revealed any more."""
        self._closed = True
        self._scheme.expect(0)

    def check_open(self, function: str) -> None:
        """Raise SessionClosedError where the session is closed."""
        if self._closed:
            raise SessionClosedError(f"{function}: the session is closed")

    def __enter__(self) -> Session:
        self.check_open("with")
        self._tokens.append(_current.set(self))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _current.reset(self._tokens.pop())
        self.close()

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise SecretAccessError(
            "Session: cannot be pickled or copied, because a copy would repeat masks; "
            "reveal() what you need and store that"
        )

    def __repr__(self) -> str:
        return (
            f"Session(protocol={self.protocol!r}, parties={self.parties}, "
            f"modulus=2**{word_bits(self.modulus)}, frac_bits={self.frac_bits}, "
            f"device={self.device!r}{', closed' if self._closed else ''})"
        )

    @property
    def scheme(self) -> Scheme:
        """The sharing scheme, for the tensors of this session."""
        return self._scheme

    @property
    def keys(self) -> KeyRing:
        """The keys of this session's generators."""
        return self._keys

    @property
    def backend(self) -> Backend:
        """The device's operations, for the tensors of this session."""
        return self._backend


def _party_names(parties: int | Sequence[str] | None, protocol: str) -> tuple[str, ...]:
    exactly = _PARTIES.get(protocol)
    if parties is None:
        parties = 1 if exactly == 1 else _NAMES[: exactly or 2]
    if isinstance(parties, int | np.integer) and not isinstance(parties, bool):
        names = tuple(f"party{index}" for index in range(int(parties)))
    elif isinstance(parties, Sequence) and not isinstance(parties, str | bytes):
        names = tuple(parties)
    else:
        raise ArgumentTypeError(
            f"Session: parties must be an int or a sequence of names, got {type(parties).__name__}"
        )
    for name in names:
        if type(name) is not str or not name:
            raise ArgumentTypeError(
                f"Session: a party's name must be a non-empty str, got {name!r}"
            )
    if len(set(names)) != len(names):
        raise ArgumentValueError(f"Session: the parties' names must differ, got {names}")
    if len(names) < 2 if exactly is None else len(names) != exactly:
        needed = {None: "at least 2 parties", 1: "exactly 1 party"}
        raise ArgumentValueError(
            f"Session: protocol {protocol!r} needs "
            f"{needed.get(exactly, f'exactly {exactly} parties')}, got {parties!r}"
        )
    return names
