"""Which ALSA PCMs can be captured from, and what their makers say of them."""

import ctypes
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

from farfield.alsa.pcm import library


class Listed(NamedTuple):
    """A PCM. is_busy: somebody else has it."""

    name: str
    description: str
    is_busy: bool


def capture_devices() -> tuple[list[Listed], list[str]]:
    """Those that can be captured from, and the names of those that cannot, as alsa-lib names them all.

    Its list says of few in which direction they go, and has plugins whose hardware or server is not there: so each is opened for
    a moment. InputError: pyalsaaudio is not installed.
    """
    alsa = library()
    described = _descriptions()
    found, others = [], []
    for name in alsa.pcms(alsa.PCM_CAPTURE):
        try:
            with _quiet():
                alsa.PCM(alsa.PCM_CAPTURE, alsa.PCM_NONBLOCK, device=name).close()
            is_busy = False
        except alsa.ALSAAudioError as error:
            is_busy = os.strerror(errno.EBUSY) in str(error)
            if not is_busy:
                others.append(name)
                continue
        found.append(Listed(name, described.get(name, ""), is_busy))
    return found, others


@contextmanager
def _quiet() -> Iterator[None]:
    """What plugins' own libraries write to stderr, such as that no server runs, is not for whoever asks for a list."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _descriptions() -> dict[str, str]:
    """What alsa-lib's configuration says of each PCM, in one line."""
    asound = ctypes.CDLL("libasound.so.2")
    asound.snd_device_name_get_hint.restype = ctypes.c_void_p  # a string that is ours to free
    hints = ctypes.POINTER(ctypes.c_void_p)()
    if asound.snd_device_name_hint(-1, b"pcm", ctypes.byref(hints)) < 0:
        return {}

    def told(hint: int, what: bytes) -> str:
        text = asound.snd_device_name_get_hint(ctypes.c_void_p(hint), what)
        if text is None:
            return ""
        said = ctypes.string_at(text).decode("utf-8", "replace")
        ctypes.CDLL(None).free(ctypes.c_void_p(text))
        return said

    described = {}
    number = 0
    while (hint := hints[number]) is not None:
        described[told(hint, b"NAME")] = ", ".join(told(hint, b"DESC").splitlines())
        number += 1
    asound.snd_device_name_free_hint(hints)
    return described
