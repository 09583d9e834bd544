"""Folders of clips that streams are made of."""

import numpy as np
import pytest
import soundfile

from reference.labelled import RATE, burst


def filled(folder):
    """12 words of 0.6 s at 3 kHz, 30 other clips of 1 s below 1 kHz, two noises."""
    for kind, count in (("word", 12), ("speech", 30), ("noise", 2)):
        (folder / kind).mkdir()
        for n in range(count):
            hertz, seconds = (3_000 + n, 0.6) if kind == "word" else (300 + 20 * n, 1.0)
            sound = 0.1 * np.random.default_rng(n).standard_normal(4 * RATE) if kind == "noise" else burst(hertz, seconds)
            soundfile.write(folder / kind / f"{kind}{n}-0.wav", sound, RATE)
    return folder


@pytest.fixture
def folders(tmp_path):
    """Such folders, of the test's own."""
    return filled(tmp_path)


@pytest.fixture(scope="module")
def shared_folders(tmp_path_factory):
    """Such folders, for tests that leave them as they are."""
    return filled(tmp_path_factory.mktemp("shared"))


@pytest.fixture(scope="module")
def long_lived(tmp_path_factory):
    """7 words, 11 other clips and a noise, for tests that only ask how long they are."""
    folder = tmp_path_factory.mktemp("clips")
    for kind, count, seconds in (("word", 7, 0.5), ("speech", 11, 3.0), ("noise", 1, 1.0)):
        (folder / kind).mkdir()
        for n in range(count):
            soundfile.write(folder / kind / f"{n}.wav", burst(500 + n, seconds), RATE)
    return folder
