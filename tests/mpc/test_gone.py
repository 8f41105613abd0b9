"""What a masked tensor leaves behind when it goes."""

import gc
import weakref

import numpy as np

import he_gpu as he


def test_views_that_are_gone_leave_no_words_behind():
    """At once: what waits for the garbage collector may be as large as the device's memory."""
    with he.Session(device="cpu") as s:
        X = s.share(np.ones((8, 3))).masked()
        gc.disable()
        try:
            for _ in range(2):
                batch = X[np.arange(4)]
                (batch.T @ (batch @ batch.T.T.T)).reveal()
                words = weakref.ref(batch._masked.opened.words)
                del batch
                assert words() is None
        finally:
            gc.enable()
