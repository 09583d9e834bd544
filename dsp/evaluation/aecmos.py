"""AECMOS: how people would rate what a canceller leaves, as Microsoft's network guesses it; needs `farfield[aecmos]`."""

import numpy as np
from numpy.typing import NDArray

from farfield.profile import RATE

SCENES = {"double": "dt", "far-end": "st", "near-end": "nst"}

Sound = NDArray[np.float32]


def rated(ref: Sound, mic: Sound, left: Sound, scene: str) -> tuple[float, float]:
    """Mean opinion scores, 1 to 5: freedom from echo, and from other degradation; of the first 20 s.

    ref, mic, left: (frames,). scene: one of SCENES. Source: Purin, Sootla, Sponza, Saabas, Cutler, "AECMOS: a speech quality
    assessment metric for echo impairment", ICASSP 2022; the network comes with the package speechmos.
    """
    from speechmos import aecmos

    first = min(len(ref), 20 * RATE - 1)
    given = {name: np.clip(x[:first], -1, 1) for name, x in (("lpb", ref), ("mic", mic), ("enh", left))}
    told = aecmos.run(given, sr=RATE, talk_type=SCENES[scene])
    return round(float(told["echo_mos"]), 3), round(float(told["deg_mos"]), 3)
