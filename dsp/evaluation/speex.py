"""Speex's echo canceller, where its library is on this machine: the peer that ours is measured against."""

import ctypes
import ctypes.util
from typing import Any

import numpy as np
from numpy.typing import NDArray

from farfield.profile import RATE

FRAME = 256
_ECHO_SET_SAMPLING_RATE = 24  # speex/speex_echo.h


def library() -> Any:
    """libspeexdsp, its functions declared; None where it is not installed."""
    try:
        speex = ctypes.CDLL(ctypes.util.find_library("speexdsp") or "libspeexdsp.so.1")
    except OSError:
        return None
    speex.speex_echo_state_init_mc.restype = ctypes.c_void_p
    speex.speex_echo_state_init_mc.argtypes = [ctypes.c_int] * 4
    speex.speex_echo_ctl.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    speex.speex_echo_cancellation.argtypes = [ctypes.c_void_p] * 4
    speex.speex_echo_cancellation.restype = None
    speex.speex_echo_state_destroy.argtypes = [ctypes.c_void_p]
    speex.speex_echo_state_destroy.restype = None
    return speex


def cancel(speex: Any, mic: NDArray[np.float32], ref: NDArray[np.float32], tail: int) -> NDArray[np.float32]:
    """One microphone (frames,) without the echo of ref (frames, references); in time with mic, as long, its end 0."""
    state = speex.speex_echo_state_init_mc(FRAME, tail, 1, ref.shape[1])
    try:
        rate = ctypes.c_int(RATE)
        speex.speex_echo_ctl(state, _ECHO_SET_SAMPLING_RATE, ctypes.byref(rate))
        near, far = (np.ascontiguousarray(np.rint(np.clip(x, -1, 1) * 32_767), np.int16) for x in (mic, ref))
        left = np.zeros(len(mic), np.int16)
        for at in range(0, len(mic) - FRAME + 1, FRAME):
            speex.speex_echo_cancellation(state, near[at:].ctypes.data, far[at:].ctypes.data, left[at : at + FRAME].ctypes.data)
    finally:
        speex.speex_echo_state_destroy(state)
    return np.asarray(left / np.float32(32_767), np.float32)
