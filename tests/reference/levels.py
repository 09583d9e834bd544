"""What an algorithm does is tested at one instruction level: that each level computes the same is the float64 tests' claim."""

import pytest

from farfield import kernels

at_one_level = pytest.mark.parametrize("kernels", [kernels.cpu_level()], indirect=True)
