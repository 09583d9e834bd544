"""Segments in files: made once, and what is whole stays."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyroomacoustics")

from farfield.embedding import load_embedding  # noqa: E402
from farfield.history import FIELD, HEARD, HOP, History, heard  # noqa: E402
from farfield.joint import EMBEDDINGS, WIDTH  # noqa: E402
from farfield.training import files, segments  # noqa: E402
from reference.sounds import silent, simple_material  # noqa: E402


def test_segments_are_made_once(tiny, tmp_path):
    """A file that is there stays; one that is gone is made again as it was; a half-written one counts for nothing."""
    materials = [simple_material()] * 2
    counts = files.Counts(20, 7, 5)
    files.make_segments(materials, tmp_path, counts, 3, silent)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kinds = ["near0-0-0000", "near0-1-0000", *(f"other-{part}-000{n}" for part in (0, 1) for n in (0, 1))]
    kinds += ["word0-0-0000", "word0-1-0000"]
    assert sorted(made) == [f"{kind}-{what}.npy" for kind in kinds for what in ("ends", "heard", "seen")]
    assert made["other-0-0000-seen.npy"] != made["other-1-0000-seen.npy"]
    (tmp_path / "other-1-0001-ends.npy").unlink()
    (tmp_path / "other-1-0001-seen.npy").write_bytes(b"half")
    (tmp_path / "word0-1-0000-seen.part.npy").write_bytes(b"half")
    stamp = (tmp_path / "word0-0-0000-seen.npy").stat().st_mtime_ns
    told = []
    files.make_segments(materials, tmp_path, counts, 3, lambda *what: told.append(what))
    assert told == [("segments", 8, 8)] and (tmp_path / "word0-0-0000-seen.npy").stat().st_mtime_ns == stamp
    assert (tmp_path / "other-1-0001-seen.npy").read_bytes() == made["other-1-0001-seen.npy"]
    word = files.Kind("word", 0)
    pool = files.Pool(tmp_path, word, [0, 1])
    seen, ends = pool.take(np.arange(12))
    assert len(pool) == 12 and seen.shape == (12, segments.WINDOWS, 40) and (ends > 0).all()
    assert (files.Pool(tmp_path, files.Kind("near", 0), [0, 1]).take(np.arange(12))[1] == segments.NO_WORD).all()
    assert np.array_equal(files.Pool(tmp_path, word, [1]).take(np.array([5, 0]))[0], seen[[11, 6]])
    embedded, same = pool.embedded()
    assert embedded.shape == (12, segments.EMBEDDED, WIDTH) and np.array_equal(same, ends)


def test_segments_are_what_a_device_makes_of_them(tiny, tmp_path):
    """Features and embeddings of the same samples, by the kernels that a detector runs."""
    files.make_segments([simple_material()], tmp_path, files.Counts(6, 6, 6), 3, silent)
    samples, end = segments.segment(simple_material(), 0, np.random.default_rng([3, 1, 0, 4]))
    features, energies = heard(samples)
    pool = files.Pool(tmp_path, files.Kind("word", 0), [0])
    assert np.array_equal(pool.take(np.array([4]))[0][0], segments.scaled(features)) and pool.take(np.array([4]))[1][0] == end
    history = History(load_embedding(most_frames=HEARD))
    offset = (segments.WINDOWS - FIELD) % HOP
    history.take(features[offset:], energies[offset:])
    assert np.array_equal(pool.embedded()[0][4, -EMBEDDINGS:], history.embeddings(len(energies) - offset))
