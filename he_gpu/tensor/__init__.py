"""Secret arrays: `SecretTensor`, with NumPy's operators and methods, over the schemes of mpc.

Layer: tensor. The files in the order in which they build on each other: `layout`, `ordering`,
`tournament`, `selection`, `arithmetic`; `windows`, `convolution`; `arguments`, `shaping`,
`joining`; `equation`, `contraction`, `linear`, `norms`; `plan`, `evaluation`, `fitting`,
`polynomial`, `curves`; `normalisation`, `range_curves`, `magnitudes`, `softmax`; `nearest`,
`manners`; `secret`; `descent`, `captured`.
"""

from he_gpu.tensor.polynomial import Polynomial, approximate
from he_gpu.tensor.secret import SecretTensor

__all__ = ["Polynomial", "SecretTensor", "approximate"]
