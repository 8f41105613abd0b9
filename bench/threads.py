"""One thread for NumPy's BLAS, where a peer has one."""

from contextlib import contextmanager

try:
    from threadpoolctl import threadpool_limits
except ImportError:
    threadpool_limits = None


@contextmanager
def one_thread():
    """Let BLAS run in one thread within; yield 1, or None where threadpoolctl is missing."""
    if threadpool_limits is None:
        yield None
        return
    with threadpool_limits(1):
        yield 1
