"""Sizes at which a whole training takes seconds, and workers that know what a test has patched."""

import concurrent.futures
import os

import numpy as np
import pytest

from reference.sounds import quiet, tone


class InProcess(concurrent.futures.ThreadPoolExecutor):
    """A pool in this process."""

    def __init__(self, initializer=None, initargs=()):
        super().__init__(1, initializer=initializer, initargs=initargs)


@pytest.fixture
def tiny(monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("pyroomacoustics")
    from farfield.training import batches, files, fit, material, train

    for module in (files, fit, train):
        monkeypatch.setattr(module, "ProcessPoolExecutor", InProcess)
    monkeypatch.setattr(os, "nice", lambda by: 0)
    monkeypatch.setattr(files, "PER_FILE", 6)
    monkeypatch.setattr(fit, "ROUND", 2)
    for name, value in {"POSITIVES": 6, "NEGATIVES": 6, "NEAR": 2}.items():
        monkeypatch.setattr(batches, name, value)
    for name, value in {"_TTS_WORDS": 4, "_TTS_NEAR": 4, "_TTS_SENTENCES": 4, "_ROOMS": 2}.items():
        monkeypatch.setattr(material, name, value)
    monkeypatch.setattr(train, "_ROOMS_TO_MEASURE", 2)

    def spoken(phrases, by):
        return [
            material.Labelled(f"synthetic/{n}", f"voice {n}", np.concatenate([quiet(0.1), tone(400 + 50 * n, 0.5), quiet(0.1)]))
            for n in range(len(by))
        ]

    monkeypatch.setattr(material, "_spoken", spoken)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
