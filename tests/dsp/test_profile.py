"""Profiles: what ships is physically right, and every mistake is one line that names the file and the field."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from farfield.errors import InputError
from farfield.frontend import Frontend
from farfield.profile import load_profile, shipped_profiles

GOOD = """\
name = "desk"
description = "two microphones and a loopback"
rate = 16000
channels = 4
beams = 5
tail_ms = 200
words = ["alexa"]

[[microphone]]
channel = 0
position_mm = [-20, 0.0, 0]

[[microphone]]
channel = 1
position_mm = [20.0, 0, 0.0]

[[reference]]
channel = 3
"""
MICROPHONES = GOOD[GOOD.index("[[mic") : GOOD.index("[[ref")]


def distances_mm(name):
    positions = load_profile(name).positions_mm
    return np.linalg.norm(positions[:, None] - positions[None], axis=-1)


def test_the_boards_that_ship():
    assert shipped_profiles() == ("respeaker-2mic", "respeaker-4mic", "respeaker-6mic", "single")


@pytest.mark.parametrize("name", shipped_profiles())
def test_each_board_loads_and_makes_a_front_end(name):
    profile = load_profile(name)
    assert profile.name == name and profile.description and profile.rate == 16_000
    used = [*profile.microphones, *profile.references]
    assert len(set(used)) == len(used) and sorted(used) == list(range(profile.channels))
    assert profile.positions_mm.shape == (len(profile.microphones), 3)
    assert np.abs(profile.positions_mm[:, 2]).max() == 0, "the boards are flat"
    assert Frontend(profile).microphones == len(profile.microphones)


def test_one_microphone_sits_at_the_origin():
    assert load_profile("single").positions == ((0.0, 0.0, 0.0),)


def test_two_microphones_on_the_hat_are_58_mm_apart():
    assert distances_mm("respeaker-2mic")[0, 1] == 58.0


def test_four_microphones_are_the_corners_of_a_square():
    """Neighbours a side apart (57 mm), opposite corners the side's root two, to the drawing's 0.5 mm."""
    apart = distances_mm("respeaker-4mic")
    for one in range(4):
        assert apart[one, (one + 1) % 4] == pytest.approx(57.3, abs=0.5)
        assert apart[one, (one + 2) % 4] == pytest.approx(57.3 * math.sqrt(2), abs=0.7)


def test_six_microphones_are_a_regular_hexagon_of_46_mm_radius():
    profile = load_profile("respeaker-6mic")
    x, y, _ = profile.positions_mm.T
    assert np.hypot(x, y) == pytest.approx(46.3, abs=0.5)
    angles = np.degrees(np.arctan2(y, x))
    assert np.diff(np.sort(angles % 360.0)) == pytest.approx(60.0, abs=0.5)
    assert np.diff(np.unwrap(angles, period=360.0)) == pytest.approx(60.0, abs=0.5), "in order round the circle"
    assert profile.references == (6, 7)


def test_a_file_gives_its_fields(tmp_path):
    path = tmp_path / "desk.toml"
    path.write_text(GOOD)
    for given_as in (path, str(path)):
        profile = load_profile(given_as)
        assert (profile.name, profile.rate, profile.channels, profile.beams, profile.tail_ms) == ("desk", 16_000, 4, 5, 200)
        assert (profile.microphones, profile.references, profile.words) == ((0, 1), (3,), ("alexa",))
        assert profile.positions_mm.tolist() == [[-20.0, 0.0, 0.0], [20.0, 0.0, 0.0]]


def test_what_is_left_out_has_defaults(tmp_path):
    path = tmp_path / "least.toml"
    path.write_text('name = "least"\nchannels = 1\n[[microphone]]\nchannel = 0\nposition_mm = [0, 0, 0]\n')
    profile = load_profile(path)
    assert (profile.rate, profile.beams, profile.tail_ms, profile.words, profile.references) == (16_000, 6, 128, (), ())
    assert (profile.align, profile.reference_late_ms) == (True, 0)


def test_the_alignment_of_references_can_be_set(tmp_path):
    path = tmp_path / "desk.toml"
    path.write_text(GOOD.replace("tail_ms = 200", "align = false\nreference_late_ms = 50"))
    profile = load_profile(path)
    assert (profile.align, profile.reference_late_ms) == (False, 50)


def test_the_suppressor_is_off_unless_it_is_switched_on(tmp_path):
    path = tmp_path / "desk.toml"
    for text, wanted in (
        ("tail_ms = 200", (False, False, False)),
        ("suppress_echo = true\nsuppress_noise = true", (True, True, False)),
        ("suppress_echo = true\ncomfort_noise = true", (True, False, True)),
        ("suppress_noise = true", (False, True, False)),
    ):
        path.write_text(GOOD.replace("tail_ms = 200", text))
        profile = load_profile(path)
        assert (profile.suppress_echo, profile.suppress_noise, profile.comfort_noise) == wanted


def complaint(path) -> str:
    with pytest.raises(InputError) as caught:
        load_profile(path)
    message = str(caught.value)
    assert message.isprintable() and len(message) < 400, "one line"
    return message


MISTAKES = {
    "typo": ("tail_ms = 200", "tail_msec = 200", ["tail_msec", "did you mean tail_ms?"]),
    "typo in a table": ("channel = 3", "chanel = 3", ["reference[0].chanel", "did you mean channel?"]),
    "typo beside the field": ("channel = 3", "channel = 3\nchanel = 3", ["reference[0].chanel", "did you mean channel?"]),
    "nothing like it": ("beams = 5", "zzz = 5", ["field zzz", "wanted one of", "beams"]),
    "typo in a table's name": ("[[reference]]", "[[referense]]", ["referense", "did you mean reference?"]),
    "no name": ('name = "desk"\n', "", ["field name", "got nothing", "a text"]),
    "name is a number": ('"desk"', "7", ["field name", "got 7", "a text"]),
    "no channels": ("channels = 4\n", "", ["field channels", "got nothing", "1 to 64"]),
    "too many channels": ("channels = 4", "channels = 65", ["field channels", "got 65", "1 to 64"]),
    "rate too low": ("16000", "7999", ["field rate", "got 7999", "8000 to 192000"]),
    "rate too high": ("16000", "192001", ["field rate", "got 192001", "8000 to 192000"]),
    "rate a fraction": ("16000", "16000.0", ["field rate", "got 16000.0", "a whole number"]),
    "rate a text": ("16000", '"16000"', ["field rate", "got '16000'", "a whole number"]),
    "rate true": ("16000", "true", ["field rate", "got True", "a whole number"]),
    "no beams": ("beams = 5", "beams = 0", ["field beams", "got 0", "1 to 16"]),
    "tail too long": ("tail_ms = 200", "tail_ms = 513", ["field tail_ms", "got 513", "16 to 512"]),
    "align a number": ("tail_ms = 200", "align = 1", ["field align", "got 1", "true or false"]),
    "dereverberate a number": ("tail_ms = 200", "dereverberate = 1", ["field dereverberate", "got 1", "true or false"]),
    "suppress a text": ("tail_ms = 200", 'suppress_echo = "yes"', ["field suppress_echo", "got 'yes'", "true or false"]),
    "comfort alone": ("tail_ms = 200", "comfort_noise = true", ["field comfort_noise", "wanted it with suppress_echo"]),
    "comfort and noise": ("tail_ms = 200", "suppress_echo = true\nsuppress_noise = true\ncomfort_noise = true",
                          ["field comfort_noise", "without suppress_noise"]),
    "reference too late": ("tail_ms = 200", "reference_late_ms = 51", ["field reference_late_ms", "got 51", "0 to 50"]),
    "words a text": ('["alexa"]', '"alexa"', ["field words", "a list of texts"]),
    "words numbers": ('["alexa"]', "[1]", ["field words", "a list of texts"]),
    "channel out of range": ("channel = 1\n", "channel = 4\n", ["microphone[1].channel", "got 4", "0 to 3"]),
    "negative channel": ("channel = 1\n", "channel = -1\n", ["microphone[1].channel", "got -1", "0 to 3"]),
    "reference out of range": ("channel = 3", "channel = 4", ["reference[0].channel", "got 4", "0 to 3"]),
    "used by two microphones": ("channel = 1\n", "channel = 0\n", ["channel 0", "used twice"]),
    "used by both kinds": ("channel = 3", "channel = 1", ["channel 1", "used twice"]),
    "two at one place": ("[20.0, 0, 0.0]", "[-20.0, 0, 0.5]", ["microphone[1].position_mm", "microphone[0]", "1 mm"]),
    "no position": ("position_mm = [20.0, 0, 0.0]\n", "", ["microphone[1].position_mm", "got nothing", "three numbers"]),
    "two coordinates": ("[20.0, 0, 0.0]", "[20.0, 0]", ["microphone[1].position_mm", "three numbers"]),
    "coordinate a text": ("[20.0, 0, 0.0]", '[20.0, 0, "0"]', ["microphone[1].position_mm", "three numbers"]),
    "coordinate true": ("[20.0, 0, 0.0]", "[20.0, 0, true]", ["microphone[1].position_mm", "three numbers"]),
    "coordinate NaN": ("[20.0, 0, 0.0]", "[nan, 0, 0]", ["microphone[1].position_mm", "nan", "three numbers"]),
    "coordinate infinite": ("[20.0, 0, 0.0]", "[inf, 0, 0]", ["microphone[1].position_mm", "inf", "three numbers"]),
    "metres away": ("[20.0, 0, 0.0]", "[5001, 0, 0]", ["microphone[1].position_mm", "5001", "within 5000"]),
    "microphones no tables": (MICROPHONES, "microphone = 3\n", ["field microphone", "[[microphone]]"]),
    "no microphones": (MICROPHONES, "", ["0 [[microphone]]", "1 to 16"]),
    "many references": ("[[reference]]\nchannel = 3", "[[reference]]\nchannel = 3\n" * 5, ["5 [[reference]]", "0 to 4"]),
    "a number too long to print": ("16000", "1" * 5000, ["not TOML"]),
    "a hexadecimal too long to print": ("16000", "0x1" + "0" * 5000, ["field rate", "a whole number"]),
    "nested too deeply": ('["alexa"]', "[" * 50_000, ["not TOML"]),
    "a line break in a field's name": ("beams = 5", '"be\\nams\\u001b" = 5', ["is not known"]),
    "an equals sign missing": ("rate = 16000", "rate 16000", ["not TOML", "line 3"]),
    "a field twice": ("rate = 16000", "rate = 16000\nrate = 16000", ["not TOML", "line 4"]),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_that_names_file_and_field(tmp_path, mistake):
    old, new, told = MISTAKES[mistake]
    assert old in GOOD
    path = tmp_path / "desk.toml"
    path.write_text(GOOD.replace(old, new, 1))
    message = complaint(path)
    assert message.startswith(f"{path}: ")
    for part in told:
        assert part in message


def test_what_is_no_profile_at_all(tmp_path):
    (tmp_path / "binary.toml").write_bytes(bytes(range(256)) * 8)
    (tmp_path / "empty.toml").write_bytes(b"")
    (tmp_path / "marked.toml").write_bytes(b"\xff\xfe" + GOOD.encode("utf-16-le"))
    (tmp_path / "sound.toml").write_bytes(b"RIFF\x24\x00\x00\x00WAVEfmt ")
    no_text = "cannot be read as text"
    told = {"binary": no_text, "empty": "field channels", "marked": no_text, "sound": "not TOML"}
    for name, part in told.items():
        message = complaint(tmp_path / f"{name}.toml")
        assert message.startswith(f"{tmp_path / name}.toml: ") and part in message


def test_what_is_not_there(tmp_path):
    for path in (tmp_path / "missing.toml", "respeaker-5mic", tmp_path, ""):
        message = complaint(path)
        assert "no such file" in message and "respeaker-4mic" in message
        assert str(path) in message


@given(seed=st.integers(0, 2**32 - 1))
def test_a_mutated_profile_is_refused_in_one_line_or_loads(tmp_path, seed):
    """Twenty at a time: characters, pieces and lines changed, dropped, doubled and swapped."""
    draw = random.Random(seed)
    path = tmp_path / "mutated.toml"
    pieces = [
        *("nan", "inf", "-1", "1e400", "9" * 30, "0x", "true", "1979-05-27", "channel", "a.b.c = 1"),
        *("position_mm = [0,0,0]", "[[microphone]]", "[microphone]", "[", "]", "[[", "{", "}", "=", '"', "'"),
        *("\\", "#", "\n", "\x00", "\x1b", "é", "\ud800"),
    ]
    for _ in range(20):
        text = GOOD
        for _ in range(draw.randint(1, 5)):
            at, size = draw.randrange(len(text) + 1), draw.randint(0, 12)
            kind = draw.randrange(4)
            if kind == 0:
                text = text[:at] + draw.choice(pieces) + text[at + size :]
            elif kind == 1:
                text = text[:at] + text[at + size :]
            elif kind == 2:
                lines = text.split("\n")
                draw.shuffle(lines)
                text = "\n".join(lines)
            else:
                text = text[:at] + chr(draw.randrange(0x250)) + text[at:]
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        try:
            profile = load_profile(path)
        except InputError as error:
            assert str(error).isprintable() and str(path) in str(error)
        else:
            assert np.isfinite(profile.positions_mm).all() and len(profile.microphones) >= 1
