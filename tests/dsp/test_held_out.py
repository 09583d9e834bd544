"""Cross-validated models: everyone is heard by the one model that has not heard them."""

import json

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from farfield.cli import cli
from farfield.errors import InputError
from farfield.evaluation.held_out import held_out
from reference.planted import random_model
from reference.sounds import RATE, tone, voice

PEOPLE = ("ann", "bob", "cat", "dan")


@pytest.fixture
def work(tmp_path):
    """Four people, a clip or two each, and two noises in two parts; a model for each."""
    for n, person in enumerate(PEOPLE):
        voice(tmp_path / "hey", person, 1 + n % 2, 900 + 100 * n)
        voice(tmp_path / "other", person, 2, 300 + 40 * n, 1.5)
    (tmp_path / "noise").mkdir()
    for kind in ("rain", "wind"):
        soundfile.write(tmp_path / "noise" / f"{kind}-1.wav", 0.1 * np.random.default_rng(0).standard_normal(RATE), RATE)
    lines = {"ann-0": "good day", "ann-1": "say HEY once", "bob-0": "they are here", "cat-0": "no", "cat-1": "yes", "dan-0": "so"}
    (tmp_path / "other.tsv").write_text("".join(f"{name}.wav\t{text}\n" for name, text in lines.items()))
    parts = {f"{folder}/{person}": n % 2 for folder in ("hey", "other") for n, person in enumerate(PEOPLE)}
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "parts.json").write_text(json.dumps(parts | {"noise/rain": 0, "noise/wind": 1}))
    for part in (0, 1):
        random_model(part, word="hey").save(tmp_path / "work" / f"hey-without-{part}.safetensors")
    return tmp_path


def files(folder, kind):
    return [(folder / kind, path) for path in sorted((folder / kind).glob("*.wav"))]


def groups(folder, word="hey"):
    return held_out(folder / "work", word, *(files(folder, kind) for kind in ("hey", "other", "noise")))


def test_everyone_is_heard_once_by_the_model_that_left_them_out(work):
    found = groups(work)
    assert [one.model.fingerprint for one in found] == [random_model(part).fingerprint for part in (0, 1)]
    names = [[[path.name for path in group] for group in (one.words, one.others, one.noise)] for one in found]
    assert names[0] == [["ann-0.wav", "cat-0.wav"], ["ann-0.wav", "cat-0.wav", "cat-1.wav"], ["rain-1.wav"]]
    assert names[1][0] == ["bob-0.wav", "bob-1.wav", "dan-0.wav", "dan-1.wav"] and names[1][2] == ["wind-1.wav"]
    assert names[1][1] == ["bob-0.wav", "dan-0.wav"], "'they' does not say 'hey'; of what others say nobody knows"


def test_someone_whom_nobody_left_out_is_refused(work):
    soundfile.write(work / "hey" / "eve-0.wav", tone(500, 1.0), RATE)
    with pytest.raises(InputError, match=r"eve-0\.wav: 'hey/eve' is in no part of the cross-validation"):
        groups(work)


def test_what_is_no_work_folder_is_one_line(work):
    with pytest.raises(InputError, match=r"nothing-without-0\.safetensors: cannot be read"):
        groups(work, "nothing")
    with pytest.raises(InputError, match=r"--positives: got nobody of part 0"):
        held_out(work / "work", "hey", files(work, "hey")[1:3], [], [])
    for text in ("[]", "{}", '{"a": "b"}', "no"):
        (work / "work" / "parts.json").write_text(text)
        with pytest.raises(InputError, match=r"parts\.json: "):
            groups(work)


def test_eval_adds_up_what_each_model_heard(work):
    pytest.importorskip("scipy")
    folders = [option for kind, name in (("positives", "hey"), ("negatives", "other"), ("noise", "noise"))
               for option in (f"--{kind}", str(work / name))]  # fmt: skip
    command = ["eval", "hey", *folders, "--cross-validated", str(work / "work"), "--executor", "1", "--json"]
    result = CliRunner().invoke(cli, command, standalone_mode=False)
    assert result.exception is None, result.output
    told = json.loads(result.stdout)
    assert told["words"] == told["word_clips"] == 6 and told["own"]["words"] == 6
    longer = json.loads(CliRunner().invoke(cli, [*command, "--hours", "0.1"], standalone_mode=False).stdout)
    assert longer["hours"] == pytest.approx(0.1, abs=0.01) and longer["words"] > 6 == longer["word_clips"]
