"""So many seconds of sound through the echo canceller, in a process of its own, for callgrind to count: echo_seconds.py 2"""

import sys

from ratio import sound

from farfield import kernels

if __name__ == "__main__":
    seconds = int(sys.argv[1])
    canceller = kernels.EchoCanceller(1, 1, tail_samples=3072)
    canceller.process(sound(seconds, 1, seed=2), sound(seconds, 1))
