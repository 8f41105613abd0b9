"""The share of a job's time in which its GPU does nothing, as PyTorch's profiler sees it.

CUPTI, which the profiler asks, sees the kernels of the whole process, whoever launches them.
"""

import json
import tempfile
from pathlib import Path

from bench import torch_peer
from bench.recorder import synchronise

REPEATS = 50
BUSY = ("kernel", "gpu_memcpy", "gpu_memset")
"""Categories of the profiler's events that keep the GPU busy."""


def share(backend, job, repeats=REPEATS):
    """Return the share of the time of some runs of a job, or None where it cannot be seen."""
    if not hasattr(backend.xp, "cuda") or torch_peer.absent(backend.name) is not None:
        return None
    torch = torch_peer.module()
    job()
    synchronise(backend)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for _ in range(repeats):
            job()
        synchronise(backend)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.json"
        profile.export_chrome_trace(str(path))
        events = json.loads(path.read_text(encoding="utf-8"))["traceEvents"]
    return idle_share(
        (event["ts"], event["ts"] + event["dur"]) for event in events if event.get("cat") in BUSY
    )


def idle_share(intervals):
    """Return the share of the time from the first start to the last end that no interval covers.

    None where there are fewer than two intervals.
    """
    ordered = sorted(intervals)
    if len(ordered) < 2:
        return None
    first = reached = ordered[0][0]
    idle = 0
    for start, end in ordered:
        idle += max(0, start - reached)
        reached = max(reached, end)
    return idle / (reached - first) if reached > first else None
