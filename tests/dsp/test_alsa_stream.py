"""Places on the capture clock, against a device in software whose every frame says where it belongs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield.alsa.pcm import DeviceError
from farfield.alsa.stream import Counts, Stream
from reference.alsa import RATE, FakeDevice, HostClock, numbers

MS = 1_000_000


def jitter(seed, mean_ns):
    random = np.random.default_rng(seed)
    return lambda: random.exponential(mean_ns)


def listened(device, clock, stream, waits_ms):
    """What a stream gives out whose thread runs after so many ms each."""
    blocks = []
    for wait in waits_ms:
        clock.now_ns += int(wait * MS)
        blocks += stream.read()
    return blocks + stream.finish()


def made(waits_ms, **kinds):
    clock = HostClock()
    device = FakeDevice(clock, **kinds)
    counts = Counts()
    stream = Stream(device, counts, clock=clock)
    device.start()
    return listened(device, clock, stream, waits_ms), counts, stream


def errors(blocks):
    """By how much each block's index is off, in samples; blocks follow each other, and are whole."""
    at = 0
    off = []
    for block in blocks:
        frames = numbers(block)
        assert np.array_equal(frames, np.arange(frames[0], frames[0] + len(frames))) and block.index >= at
        off.append(block.index - int(frames[0]))
        at = block.end
    return off


@pytest.mark.parametrize("ppm", [-500.0, 0.0, 500.0])
@pytest.mark.parametrize("stall_ms", [161, 250, 1_000, 60_000])
def test_an_overrun_is_sized_to_the_sample(ppm, stall_ms):
    """Stamps without jitter, as of a sound card: after 20 s, a stall of known length, to the sample."""
    blocks, counts, _ = made([10.0] * 2_000 + [stall_ms] + [10.0] * 50, ppm=ppm)
    off = errors(blocks)
    assert counts.overruns == 1 and counts.unannounced == 0
    assert max(map(abs, off)) <= 1
    missing = blocks[-1].end - sum(len(block.samples) for block in blocks)
    assert missing == pytest.approx(stall_ms * RATE / 1_000 * (1 + ppm * 1e-6), abs=200)


@pytest.mark.parametrize(("mean_ms", "within"), [(0.05, 2), (0.5, 8), (2.0, 24)])
def test_an_overrun_is_sized_through_jitter(mean_ms, within):
    """A thread that poll wakes late, at random, stamps of that moment: the error is below the jitter, 16 samples a ms."""
    worst = 0
    for seed in range(5):
        clock, late = HostClock(), jitter(seed, mean_ms * MS)
        device = FakeDevice(clock, ppm=120.0)
        device.stamps_when_asked = True
        stream = Stream(device, counts := Counts(), clock=clock)
        device.start()
        blocks = []
        for n in range(4_000):
            clock.now_ns = max(clock.now_ns, device.wakes_at()) + int(late()) + (400 * MS if n in (3_000, 3_300, 3_600) else 0)
            blocks += stream.read()
        assert (counts.overruns, counts.unannounced) == (3, 0)
        worst = max(worst, int(np.abs(np.diff(errors(blocks), prepend=0)).max()))
    print(f"jitter of {mean_ms} ms: a gap is off by at most {worst} samples")
    assert worst <= within


@given(
    st.floats(-500, 500),
    st.lists(st.one_of(st.sampled_from([10.0] * 8), st.floats(0.1, 40), st.floats(170, 2_000)), min_size=20, max_size=120),
    st.booleans(),
)
def test_whatever_stalls_each_frame_lies_where_it_belongs(ppm, waits, steps):
    """Overruns in any order, one right after another too: without jitter, each is off by a sample at most."""
    blocks, counts, _ = made([10.0] * 500 + waits + [10.0] * 20, ppm=ppm, steps=steps)
    assert max(map(abs, errors(blocks))) <= 1 + counts.overruns
    assert counts.unannounced == 0
    if all(wait < 120 for wait in waits):
        assert counts.overruns == 0 and set(errors(blocks)) == {0}


@pytest.mark.parametrize("short", [1, 7, 159])
def test_short_reads_lose_nothing(short):
    clock = HostClock()
    device = FakeDevice(clock)
    device.short_reads = short
    stream = Stream(device, counts := Counts(), clock=clock)
    device.start()
    blocks = listened(device, clock, stream, [10.0] * 300)
    assert set(errors(blocks)) == {0} and sum(len(block.samples) for block in blocks) == 48_000 and counts == Counts()


def stops(seed, apart_s, last_s):
    """A sound server that is given no time for a while, now and then: what had come by when."""
    random = np.random.default_rng(seed)
    begins = np.cumsum(random.exponential(apart_s, 2_000) + last_s)
    ends = begins + random.uniform(0, last_s, len(begins))

    def arrives(now_ns):
        seconds = (now_ns - 10**15) / 1e9
        at = np.searchsorted(begins, seconds, "right") - 1
        return now_ns if at < 0 or seconds >= ends[at] else 10**15 + int(begins[at] * 1e9)

    return arrives


@pytest.mark.parametrize("share", [0.02, 0.1])
@pytest.mark.parametrize("server", [None, 0.4])
def test_gaps_close_to_each_other_are_sized_each(share, server):
    """Overruns at random, many within a few periods of the last; a thread of which one waking in ten is late, by 8 ms on average,
    and a server that stands still for up to 60 ms every so often. Nothing of what came is given up; each gap is right to the 2 ms
    that the bench allows, or to what the stream itself says of it; no error adds up."""
    worst, lost, doubtful = 0, 0, 0
    for seed in range(3):
        clock, random = HostClock(), np.random.default_rng(seed)
        device = FakeDevice(clock, ppm=-80.0, arrives=stops(seed, server, 0.06) if server else lambda ns: ns)
        device.stamps_when_asked = True
        stream = Stream(device, counts := Counts(), clock=clock)
        device.start()
        blocks = []
        for n in range(6_000):
            late_ms = random.exponential(8.0) if random.random() < 0.1 else random.exponential(0.05)
            clock.now_ns = max(clock.now_ns, device.wakes_at()) + int(late_ms * MS)
            device.loses_share = share if n > 600 else 0.0
            blocks += stream.read()
        blocks += stream.finish()
        off = np.array(errors(blocks))
        wrong = np.abs(np.diff(off, prepend=0))
        assert np.maximum(wrong - RATE // 500, 0).sum() <= 2 * counts.doubtful_samples
        assert counts.overruns > 2_000 * share and counts.unannounced == 0
        assert sum(len(block.samples) for block in blocks) + counts.overruns * device.period == device.given
        lost += counts.overruns * device.period
        doubtful += counts.doubtful_samples
        worst = max(worst, int(np.abs(off).max()))
        assert np.median(np.abs(off)) <= RATE // 500
    print(f"{share:.0%} lost, server {server}: off by at most {worst} samples; of {lost} lost {doubtful} are in doubt")
    assert worst <= 2 * device.period and doubtful < lost * (0.1 if share < 0.05 else 0.5)


@pytest.mark.parametrize("seed", range(3))
def test_who_is_hardly_ever_given_time_says_by_how_much_its_gaps_may_be_wrong(seed):
    """A listener that every other program comes before: of its wakings nine in ten are late, for seconds at a time by a quarter
    of a second, while one read in fifty is lost. All that came goes out, and what is wrong is within what is told."""
    clock, random = HostClock(), np.random.default_rng(seed)
    device = FakeDevice(clock, ppm=40.0, periods=400)
    device.stamps_when_asked = True
    stream = Stream(device, counts := Counts(), clock=clock)
    device.start()
    blocks = []
    for n in range(3_600):
        is_busy = n > 600
        device.loses_share = 0.02 if is_busy else 0.0
        late_ms = (random.uniform(0, 8) if random.random() < 0.9 else 0.0) + 250.0 * (n % 900 > 700) if is_busy else 0.0
        clock.now_ns = max(clock.now_ns, device.wakes_at()) + int(late_ms * MS)
        blocks += stream.read()
    blocks += stream.finish()
    off = np.array(errors(blocks))
    wrong = np.minimum(np.abs(np.diff(off, prepend=0)), np.abs(off))
    assert 0 < np.maximum(wrong - RATE // 500, 0).sum() <= counts.doubtful_samples
    assert sum(len(block.samples) for block in blocks) + counts.overruns * device.period == device.given
    assert np.abs(off).max() < RATE // 4 and abs(stream.track.drift_ppm - 40) < 20, "errors do not add up"


@pytest.mark.parametrize("seed", range(4))
def test_a_server_without_time_loses_nothing_and_nothing_is_taken_for_lost(seed):
    """Both cores busy: the server stands still for up to 0.9 s, in the midst of catching up too, and we do for 0.3 s."""
    random, clock = np.random.default_rng(seed), HostClock()
    device = FakeDevice(clock, periods=400, arrives=stops(seed, 0.02, 0.9))
    device.stamps_when_asked = True
    device.short_reads = 160
    stream = Stream(device, counts := Counts(), clock=clock)
    device.start()
    blocks = listened(device, clock, stream, [10.0] * 700)
    waits = random.exponential(10.0, 3_000) + 300.0 * (random.random(3_000) < 0.01)
    blocks += listened(device, clock, stream, waits)
    assert set(errors(blocks)) == {0} and counts == Counts()


def test_a_path_that_stops_while_it_catches_up_has_lost_nothing():
    """A third of a second behind, a few frames come, and then nothing for a second: that is no account of what was lost."""
    clock, base = HostClock(), 10**15
    pieces = [(6_000, 5_600), (6_010, 5_610), (6_020, 5_620), (7_000, 5_630), (7_010, 5_640), (7_020, 7_020)]  # ms: at, had

    def arrives(now_ns):
        ms = (now_ns - base) / MS
        had = ms if ms < 5_600 else next((had for at, had in reversed(pieces) if at <= ms), 5_600)
        return base + int((ms if ms >= 7_020 else had) * MS)

    device = FakeDevice(clock, periods=400, arrives=arrives)
    device.stamps_when_asked = True
    stream = Stream(device, counts := Counts(), clock=clock)
    device.start()
    blocks = listened(device, clock, stream, [10.0] * 600)
    blocks += listened(device, clock, stream, [10.0, 10.0, 980.0, 10.0, 10.0] + [10.0] * 100)
    assert set(errors(blocks)) == {0} and counts == Counts()


@pytest.mark.parametrize("stall_ms", [300, 5_000])
def test_what_is_lost_without_a_word_is_found_by_the_clock(stall_ms):
    """The planted case: a path that drops frames and never tells; the gap lies where it was, and is as long."""
    blocks, counts, _ = made([10.0] * 1_000 + [stall_ms] + [10.0] * 100, ppm=200.0, silent_overruns=True)
    assert (counts.overruns, counts.unannounced) == (0, 1)
    assert max(map(abs, errors(blocks))) <= 1


@pytest.mark.parametrize("stall_ms", [60, 150, 200])
def test_what_only_comes_late_is_not_taken_for_lost(stall_ms):
    """Frames that were captured and arrive together afterwards, as from a sound server that had no time."""
    clock = HostClock()
    device = FakeDevice(clock, periods=200)
    stream = Stream(device, counts := Counts(), clock=clock)
    device.start()
    blocks = listened(device, clock, stream, [10.0] * 500)
    device.delayed_until_ns = clock() + stall_ms * MS
    blocks += listened(device, clock, stream, [10.0] * 500)
    assert set(errors(blocks)) == {0} and counts == Counts()


def test_nothing_is_given_out_before_its_place_is_known():
    clock = HostClock()
    device = FakeDevice(clock)
    stream = Stream(device, Counts(), clock=clock)
    device.start()
    listened(device, clock, stream, [10.0] * 500)
    clock.now_ns += 500 * MS
    assert stream.read() == []
    given_out = []
    for _ in range(2):
        clock.now_ns += 10 * MS
        given_out += stream.read()
    assert given_out == []
    clock.now_ns += 10 * MS
    assert len(stream.read()) == 3, "held back for the time that sizing takes, and no longer"


def test_a_way_that_becomes_shorter_is_no_gap():
    """As where a sound server's latency is set anew: frames come sooner than ever, and none was lost."""
    late = [80 * MS]
    clock = HostClock()
    device = FakeDevice(clock, jitter_ns=lambda: late[0], steps=False)
    device._there_was = device.stamp
    device.stamp = lambda: (device._there_was()[0], clock() + late[0])
    stream = Stream(device, counts := Counts(), clock=clock)
    device.start()
    blocks = listened(device, clock, stream, [10.0] * 500)
    late[0] = 0
    blocks += listened(device, clock, stream, [10.0] * 1_000)
    assert set(errors(blocks)) == {0} and counts == Counts()


def test_the_track_tells_when_a_sample_was_captured():
    blocks, _, stream = made([10.0] * 3_000, ppm=321.0, jitter_ns=jitter(0, 0.2 * MS))
    assert stream.track.drift_ppm == pytest.approx(321.0, abs=2)
    due = 10**15 + blocks[-1].end * 1e9 / RATE / (1 + 321e-6)
    assert abs(stream.track.host_ns(blocks[-1].end) - due) < 0.05 * MS


def test_a_device_that_is_gone_says_so():
    clock = HostClock()
    device = FakeDevice(clock)
    stream = Stream(device, Counts(), clock=clock)
    device.start()
    listened(device, clock, stream, [10.0] * 10)
    device.is_gone = True
    with pytest.raises(DeviceError, match="No such device"):
        stream.read()
