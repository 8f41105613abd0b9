"""CUDA C++ sources of he_gpu, installed as the package `he_gpu.kernels`.

This folder holds no Python: `*.cuh` are shared primitives, each `*.cu` is one
kernel family. `he_gpu.backend.loader` reads them.
"""
