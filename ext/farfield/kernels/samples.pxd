# cython: language_level=3
"""What float samples pass at the door of a kernel."""


cdef inline float clean(float x) noexcept nogil:
    """x within +-8 (18 dB over full scale), 0 where it is NaN or infinite: what follows stays finite."""
    if not (x - x == 0):
        return 0
    return 8 if x > 8 else (-8 if x < -8 else x)
