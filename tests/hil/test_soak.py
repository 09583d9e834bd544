"""The soak: a leak of each kind, planted, is complained of; a run that stays as it is, is not."""

import json
import weakref
from dataclasses import replace

import pytest

from farfield.cli import main
from farfield.hil.faults import Faults
from farfield.hil.rigs import FileRig
from farfield.hil.soak import Sample, complaints, soak
from reference.scenes import Spoilt, altered, noise, planted

STEADY = Sample(0.1, 1, 100.0, 10, 3, 0, 4, 9.0, 0.0, ())
SCENE = noise(1.0)


def over(**last):
    """Five passes, the last ones of them otherwise."""
    return [replace(STEADY, passes=n) for n in range(1, 5)] + [replace(STEADY, passes=5, **last)]


def test_what_stays_as_it_is():
    assert complaints(over(), 5.0, lossy=False) == []
    assert complaints(over(rss_mb=104.9, system_p99_ms=90.0), 5.0, lossy=False) == []


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ({"rss_mb": 105.1}, "memory grew from 100.0 to 105.1 MB"),
        ({"descriptors": 11}, "descriptors: 10 at first, 11 at the end"),
        ({"threads": 4}, "threads: 3 at first"),
        ({"lost_samples": 160}, "160 samples were lost"),
        ({"events": 3}, "events in a pass over the same room"),
        ({"unexplained": ("gap",)}, "pass 5: gap"),
    ],
)
def test_each_kind_of_trouble(last, told):
    (found,) = complaints(over(**last), 5.0, lossy=False)
    assert told in found


def test_no_more_of_the_passes_is_kept_than_is_told(monkeypatch, capsys):
    """A thousand of them: each is gone by the next, but for the one after which memory is compared, and the first gaps."""
    alive, most = set(), []

    def passes(*_):
        for number in range(1, 1_001):
            sample = replace(STEADY, passes=number, unexplained=("gap",))
            alive.add(number)
            weakref.finalize(sample, alive.discard, number)
            yield sample
            most.append(len(alive))

    monkeypatch.setattr("farfield.hil.soak.soak", passes)
    with pytest.raises(SystemExit) as left:
        main(["hil", "soak", "--hours", "0", "--json"])
    assert left.value.code == 1 and len(most) == 1_000 and max(most) <= 3
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    complaints_ = [line["complaint"] for line in lines if "complaint" in line]
    assert complaints_ == [f"pass {n}: gap" for n in range(1, 9)] + ["992 more gaps that were not accounted for"]


def test_what_was_asked_for_is_no_trouble():
    assert complaints(over(lost_samples=160, events=3), 5.0, lossy=True) == []


def test_what_a_process_takes_for_itself_at_first_is_no_leak():
    settling = [replace(STEADY, rss_mb=60.0, descriptors=5), *over()]
    assert complaints(settling, 5.0, lossy=False) == []


def test_it_goes_on_until_the_time_is_over():
    ticks = iter(range(0, 10**15, 36 * 10**10))  # a tenth of an hour between two looks
    samples = list(soak(FileRig(), SCENE, [planted(SCENE, 20)], 0.35, clock=lambda: next(ticks)))
    assert [sample.passes for sample in samples] == [1, 2, 3, 4] and samples[-1].hours == pytest.approx(0.4)
    assert all(sample.rss_mb > 1 and sample.descriptors > 2 and sample.threads >= 1 for sample in samples)


def test_losses_add_up_and_a_gap_is_told():
    lossy = list(soak(FileRig(), SCENE, [planted(SCENE, 20)], 0.0, Faults(stall_s=0.35)))
    assert lossy[0].lost_samples == 1_600
    (spoilt,) = soak(Spoilt(FileRig(), altered(1_000)), SCENE, [planted(SCENE, 20)], 0.0)
    assert "sample 1000" in spoilt.unexplained[0]


def test_a_descriptor_that_is_kept_open_is_counted(tmp_path):
    """A real one, for each pass, through the real count."""
    kept = []

    class Leaks(FileRig):
        def play(self, scene, faults=None):
            kept.append((tmp_path / "x").open("w"))
            return super().play(scene)

    ticks = iter(range(0, 10**15, 36 * 10**10))
    samples = list(soak(Leaks(), SCENE, [planted(SCENE, 20)], 0.45, clock=lambda: next(ticks)))
    for file in kept:
        file.close()
    assert any("descriptors" in text for text in complaints(samples, 50.0, lossy=False))
