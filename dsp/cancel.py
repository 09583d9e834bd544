"""The aligner and the cancellers behind it, as one: what was learnt before the echo jumped is put back once it is found again."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from farfield import kernels

Samples = NDArray[np.int16 | np.float32]

# In which a room is expected to change while it is not seen to. The longer, the less is learnt from a talker as if he were echo,
# and the less echo is taken out in his pauses; a path that does change is followed within a second either way.
MEMORY_S = 15.0
# Of a second canceller, whose output is scored beside the first one's: that one is there where the room does change.
PATIENT_MEMORY_S = 240.0


def cancel(
    aligner: kernels.Aligner, cancellers: Sequence[tuple[kernels.EchoCanceller, slice]], mic: Samples, ref: Samples, at: int
) -> tuple[list[NDArray[np.float32]], NDArray[np.float32], NDArray[np.float32]]:
    """Microphones (frames, microphones) without the echo of ref (frames, references), late by what both stages hold back.

    So for each canceller, of those microphones that the slice beside it says. And both as the aligner handed them on, lined up
    with each other and late by what it holds back.

    mic, ref: float32, full scale 1, or int16; what is made of them is float32. at: how many frames both were given before. The
    aligner moves references at the end of its updates alone; it is given sound up to there, so that the cancellers recall at the
    same sample however the stream is cut. TypeError, ValueError: as of the kernels.
    """
    aligned_mic, aligned_ref = (np.empty(sound.shape, np.float32) for sound in (mic, ref))
    out = [np.empty((len(mic), canceller.microphones), np.float32) for canceller, _ in cancellers]
    step = aligner.update_samples
    begin = 0
    while begin < len(mic):
        end = min(begin + step - (at + begin) % step, len(mic))
        moves = aligner.moves
        piece = slice(begin, end)
        aligned_mic[piece], aligned_ref[piece] = aligner.process(mic[piece], ref[piece])
        for (canceller, columns), left in zip(cancellers, out, strict=True):
            canceller.process(np.ascontiguousarray(aligned_mic[piece, columns]), aligned_ref[piece], left[piece])
            if aligner.moves != moves:
                canceller.recall()
        begin = end
    return out, aligned_mic, aligned_ref
