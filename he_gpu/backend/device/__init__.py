"""Launchers: the NumPy definitions' functions, run by kernels on a device's arrays.

Layer: backend, above `launch`. A launcher has its definition's name and parameters behind the
device; it checks, allocates, picks the grid and launches, and holds no mathematics.
"""
