"""Devices: one set of operations on ring words, defined in NumPy and copied by CUDA kernels.

Layer: the lowest but for ``kernels/``; CuPy is imported here and nowhere else. Upper layers see
`Backend` and `get_backend`; they know array shapes and moduli, and never a kernel.
"""

from he_gpu.backend.convolution import Convolution
from he_gpu.backend.definition.conv import convolve_reals
from he_gpu.backend.definition.descent import CrossProducts, Products, descent_fits
from he_gpu.backend.definition.sharing import CountedNonce, Stream
from he_gpu.backend.definition.steps import words_per_row
from he_gpu.backend.definition.words import Array, word_dtype
from he_gpu.backend.graph import Graph, found, recording
from he_gpu.backend.kept import Kept
from he_gpu.backend.registry import Backend, get_backend, to_host, unavailable_reason

__all__ = [
    "Array",
    "Backend",
    "Convolution",
    "CountedNonce",
    "CrossProducts",
    "Graph",
    "Kept",
    "Products",
    "Stream",
    "convolve_reals",
    "descent_fits",
    "found",
    "get_backend",
    "recording",
    "to_host",
    "unavailable_reason",
    "word_dtype",
    "words_per_row",
]
