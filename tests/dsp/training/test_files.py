"""Segments in files: made once, and what is whole stays."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyroomacoustics")

from farfield.training import files, segments  # noqa: E402
from reference.sounds import silent, simple_material, tone  # noqa: E402


def test_segments_are_made_once(tiny, tmp_path):
    """A file that is there stays; one that is gone is made again as it was; a half-written one counts for nothing."""
    told_clips = [segments.Told(tone(200, 0.6), (1, 2)), segments.Told(tone(300, 0.9), (3, 4, 5))]
    materials = [simple_material(told=told_clips)] * 2
    counts = files.Counts(20, 7, 5, 3)
    files.make_segments(materials, tmp_path, counts, 3, silent)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    kinds = ["near0-0-0000", "near0-1-0000", *(f"other-{part}-000{n}" for part in (0, 1) for n in (0, 1))]
    kinds += ["told-0-0000", "told-1-0000", "word0-0-0000", "word0-1-0000"]
    assert sorted(made) == [f"{kind}-{what}.npy" for kind in kinds for what in ("ends", "seen")]
    assert made["other-0-0000-seen.npy"] != made["other-1-0000-seen.npy"]
    (tmp_path / "other-1-0001-ends.npy").unlink()
    (tmp_path / "other-1-0001-seen.npy").write_bytes(b"half")
    (tmp_path / "word0-1-0000-seen.part.npy").write_bytes(b"half")
    stamp = (tmp_path / "word0-0-0000-seen.npy").stat().st_mtime_ns
    told = []
    files.make_segments(materials, tmp_path, counts, 3, lambda *what: told.append(what))
    assert told == [("segments", 10, 10)] and (tmp_path / "word0-0-0000-seen.npy").stat().st_mtime_ns == stamp
    assert (tmp_path / "other-1-0001-seen.npy").read_bytes() == made["other-1-0001-seen.npy"]
    word = files.Kind("word", 0)
    pool = files.Pool(tmp_path, word, [0, 1])
    seen, ends = pool.take(np.arange(12))
    assert len(pool) == 12 and seen.shape == (12, segments.WINDOWS, 40) and (ends > 0).all()
    assert (files.Pool(tmp_path, files.Kind("near", 0), [0, 1]).take(np.arange(12))[1] == segments.NO_WORD).all()
    assert np.array_equal(files.Pool(tmp_path, word, [1]).take(np.array([5, 0]))[0], seen[[11, 6]])
    seen, phones = files.Pool(tmp_path, files.Kind("told"), [0, 1]).take(np.arange(12))
    assert seen.shape == (12, segments.WINDOWS, 40) and phones.shape == (12, segments.MOST_PHONES)
    clips = "12", "345"
    for row in phones:
        text = "".join(str(phone) for phone in row if phone != segments.NO_WORD)
        assert text and not text.replace(clips[1], "").replace(clips[0], ""), "whole clips, one after the other"


def test_where_some_part_has_no_phones_none_are_told(tiny, tmp_path):
    materials = [simple_material(told=[segments.Told(tone(200, 0.6), (1, 2))]), simple_material()]
    files.make_segments(materials, tmp_path, files.Counts(6, 6, 6, 6), 3, silent)
    assert not list(tmp_path.glob("told-*"))
