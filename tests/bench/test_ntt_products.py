"""The transform as matrix products equals the definition, word for word."""

import numpy as np
import pytest

from bench import ntt_products
from he_gpu.backend.definition import ntt as definition
from he_gpu.ring import ntt_primes


@pytest.mark.parametrize("degree", [16, 32, 512, 4096, 65536])
def test_products_are_transforms(degree):
    moduli = ntt_primes(degree, 2**27, 2)
    q, rng = np.array(moduli)[:, None], np.random.default_rng(0)
    words = rng.integers(0, q, (3, 2, degree)).astype(np.uint32)
    words[1] = q - 1
    words[2] = q // 2
    values = definition.ntt(words, moduli)
    np.testing.assert_array_equal(ntt_products.ntt(words, moduli), values)
    np.testing.assert_array_equal(ntt_products.intt(values, moduli), words)
    np.testing.assert_array_equal(ntt_products.intt(words, moduli), definition.intt(words, moduli))
