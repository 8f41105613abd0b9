"""Where the time of a training step goes: by part of the step, and by layer of the stack.

A clock runs for one part at a time, so that the parts add up to the whole. The device finishes what
it was asked for at every change of part; a step that is taken apart is therefore somewhat slower
than one that is not.
"""

import statistics
import time
from contextlib import contextmanager

from bench.recorder import duration, synchronise

REST = "all else"
KINDS = {
    "linear": "products",
    "convolution": "products",
    "activations": "ReLU",
    "pooling": "max-pooling",
    "losses": "softmax",
}
"""Parts of a step by the module of `he_gpu.nn` that a layer or a gradient is defined in."""
KERNELS = {
    "matrix products": (
        "matmul", "matmul_pair", "conv", "conv_pair", "descend", "descend_replicated",
    ),
    "keystream, dealt and split words": (
        "keystream", "uniform", "split", "split_truncated", "split_bits", "deal_mask",
        "deal_truncation", "choose_truncation",
    ),
    "bits of comparisons": (
        "bit_planes", "bit_words", "less_pairs", "borrows", "carry_leaves", "equal_leaves",
        "choose_nodes", "carry_open", "carry_combine", "and_open", "and_combine", "xor_open",
        "bit_shares", "bit_times_word", "step_shares",
    ),
    "sums, openings, truncations": (
        "add", "sub", "neg", "mul", "weighted_sum", "reconstruct", "add_public", "open_masked",
        "open_scaled", "beaver_combine", "truncate_finish", "cross_multiply",
    ),
}  # fmt: skip
"""Layers of the stack by operations of the backend; what runs between them is `REST`."""


class Clock:
    """Seconds by part; a part within another one stops that one's time.

    Args:
        backend: the device.
        now: what tells the time in seconds.
    """

    def __init__(self, backend, now=time.perf_counter):
        self.seconds = {}
        self._backend, self._now = backend, now
        self._stack, self._since = [], 0.0

    @contextmanager
    def part(self, name):
        """Time what runs within."""
        self._turn()
        self._stack.append(name)
        try:
            yield
        finally:
            self._turn()
            self._stack.pop()

    def timed(self, name, function):
        """Return a function whose calls are a part."""

        def run(*args, **kwargs):
            with self.part(name):
                return function(*args, **kwargs)

        return run

    def _turn(self):
        """Give the time since the last turn to the part that is running."""
        synchronise(self._backend)
        now = self._now()
        if self._stack:
            part = self._stack[-1]
            self.seconds[part] = self.seconds.get(part, 0.0) + now - self._since
        self._since = now


def by_part(clock, model, x, target, loss, optimiser):
    """Take a step of a Sequential, forward and backward layer by layer."""
    with clock.part(REST):
        optimiser.zero_grad()
        for layer in model:
            with clock.part(name_of(type(layer).__module__, "forward")):
                x = layer(x)
        with clock.part("softmax"):
            result = loss(x, target)
        for traced in recorded(result):
            backward = traced.node.backward
            name = name_of(backward.__module__, "backward")
            traced.node = traced.node._replace(backward=clock.timed(name, backward))
        result.backward()
        with clock.part("optimiser"):
            optimiser.step()


def recorded(result):
    """All that a value was made of and that knows how."""
    found, more = {}, [result]
    while more:
        traced = more.pop()
        if traced.node is not None and id(traced) not in found:
            found[id(traced)] = traced
            more += traced.node.parents
    return found.values()


def name_of(module, direction):
    """The part that a layer or a gradient defined in a module belongs to.

    >>> name_of("he_gpu.nn.linear", "forward"), name_of("he_gpu.nn.losses", "backward")
    ('products forward', 'softmax')
    """
    kind = KINDS.get(module.rpartition(".")[2], REST)
    return kind if kind in (REST, "softmax") else f"{kind} {direction}"


@contextmanager
def by_kernel(clock, backend):
    """Time the operations of a backend, and what runs between them, as layers of the stack."""
    before = {}
    for layer, names in KERNELS.items():
        for name in names:
            before[name] = getattr(backend, name)
            setattr(backend, name, clock.timed(layer, before[name]))
    try:
        with clock.part(REST):
            yield
    finally:
        for name, function in before.items():
            setattr(backend, name, function)


def measured(backend, steps, rounds):
    """Median seconds of each part over some rounds.

    Args:
        backend: the device.
        steps: functions by name that take one step under a clock.
        rounds: how often; one more goes before.

    Returns:
        By name, seconds by part, the largest first.
    """
    found = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            clock = Clock(backend)
            step(clock)
            found[name].append(clock.seconds)
    return {name: medians(each[1:]) for name, each in found.items()}


def medians(rounds):
    """The median of each part over rounds, the largest first."""
    parts = {part for seconds in rounds for part in seconds}
    middle = {part: statistics.median(s.get(part, 0.0) for s in rounds) for part in parts}
    return dict(sorted(middle.items(), key=lambda item: -item[1]))


def tables(results):
    """Where the steps of one device spend their time, as Markdown: a table for each network."""
    steps = {}
    for result in results:
        for row in result["rows"]:
            if "parts" in row:
                steps.setdefault(row["step"], []).append(row)
    return "\n\n".join(table(name, rows) for name, rows in steps.items())


def table(name, rows):
    """The parts of a network's step and the layers beneath, the columns being schemes."""
    lines = [f"| {name} | {' | '.join(row['scheme'] for row in rows)} |"]
    lines.append("|---|" + "---:|" * len(rows))
    lines.append(line("**whole**", [duration(row["median"]) for row in rows]))
    for title, kind in (("its parts", "parts"), ("the layers beneath", "stack")):
        found = [row[kind] for row in rows]
        sums = [sum(seconds.values()) for seconds in found]
        lines.append(line(f"**{title}**, sum", map(duration, sums)))
        names = list(dict.fromkeys(name for seconds in found for name in seconds if name != REST))
        names += [REST] if any(REST in seconds for seconds in found) else []
        for name in names:
            lines.append(line(name, map(share, (s.get(name) for s in found), sums)))
    return "\n".join(lines)


def line(title, others):
    return f"| {' | '.join([title, *others])} |"


def share(seconds, of):
    """A duration and its share; nothing for None.

    >>> share(0.25, 1.0)
    '250 ms, 25%'
    """
    return "" if seconds is None else f"{duration(seconds)}, {seconds / of:.0%}"
