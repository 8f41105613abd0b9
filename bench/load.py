"""What other processes take of the cores while something is measured, as far as Linux tells."""

import os
import time
from pathlib import Path

STAT = Path("/proc/stat")
IDLE = 0.9
"""Share of the cores that must be idle for a round to start."""
SAMPLE_SECONDS = 0.1


def ticks(text):
    """Busy and total ticks of all cores since the start, from the text of /proc/stat.

    >>> ticks("cpu  10 0 20 60 5 0 5 0 0 0")
    (35, 100)
    """
    values = list(map(int, text.split("\n", 1)[0].split()[1:9]))
    idle = values[3] + values[4]
    return sum(values) - idle, sum(values)


def read():
    """Busy and total ticks, or None where the system does not tell."""
    try:
        return ticks(STAT.read_text())
    except OSError:
        return None


def wait_until_idle(seconds):
    """Wait until the cores are idle, at most some seconds; return the seconds waited."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        before = read()
        time.sleep(SAMPLE_SECONDS)
        after = read()
        if before is None or after is None or after[1] == before[1]:
            break
        if (after[0] - before[0]) / (after[1] - before[1]) <= 1 - IDLE:
            break
    return time.monotonic() - start


class Others:
    """Measures, from its making on, the share of the cores that other processes take."""

    def __init__(self):
        self._start = read(), self._own()

    def share(self):
        """Busy time that is not this process's, over all time of all cores; None if unknown."""
        (before, own_before), after, own_after = self._start, read(), self._own()
        if before is None or after is None or after[1] == before[1]:
            return None
        own = (own_after - own_before) * os.sysconf("SC_CLK_TCK")
        return max(0.0, (after[0] - before[0] - own) / (after[1] - before[1]))

    @staticmethod
    def _own():
        return time.process_time()
