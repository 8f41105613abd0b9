"""The NumPy definitions of every kernel family: plain, and by definition right.

Layer: backend. A module here knows arrays and moduli, and no party, session or device.
"""
