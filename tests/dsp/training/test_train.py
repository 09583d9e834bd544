"""A whole training: from folders to model files, cut short and taken up again."""

import json
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pyroomacoustics")

from click.testing import CliRunner  # noqa: E402

from farfield.cli.train import train as command  # noqa: E402
from farfield.errors import InputError  # noqa: E402
from farfield.model import load_model  # noqa: E402
from farfield.training import batches, fit, train  # noqa: E402
from farfield.training.material import PARTS, Phrase  # noqa: E402
from reference.planted import random_model  # noqa: E402
from reference.sounds import silent, voice  # noqa: E402


@pytest.fixture
def folders(tmp_path):
    for n, person in enumerate(("ann", "bob", "cat", "dan", "eve")):
        voice(tmp_path / "word", person, 2, 900 + 100 * n)
        voice(tmp_path / "sword", person, 1, 1_700 + 100 * n)
        voice(tmp_path / "other", person, 2, 300 + 40 * n, 1.5)
        voice(tmp_path / "noise", person, 1, 2_000 + 100 * n, 1.5)
    return tmp_path


def recipe_for(folder, words=("word",), **changes):
    fields = {
        "phrases": tuple(Phrase(word, (folder / word,), ("ward",)) for word in words),
        "negatives": (folder / "other",), "noise": (folder / "noise",), "tts": True,
        "seed": 1, "rounds": 4, "others": 18, "words": 18,
    }  # fmt: skip
    return train.Recipe(**(fields | changes))


class Killed(Exception):
    pass


def kill_at_round(monkeypatch, times):
    """The run ends once so many rounds of fitting have been kept."""
    keep, count = fit._keep, 0

    def kept(*what):
        nonlocal count
        keep(*what)
        count += 1
        if count == times:
            raise Killed

    monkeypatch.setattr(fit, "_keep", kept)


def test_a_run_killed_and_taken_up_again_gives_the_same_models(tiny, folders, monkeypatch):
    (folders / "word" / "broken.wav").write_bytes(b"RIFF")
    said = []
    recipe = recipe_for(folders, ("word", "sword"))
    straight = train.train(recipe, folders / "straight", {"licence": "x"}, said.append, silent)
    for times in (2, 14):
        with monkeypatch.context() as patched, pytest.raises(Killed):
            kill_at_round(patched, times)
            train.train(recipe, folders / "killed", {"licence": "x"}, silent, silent)
    resumed = train.train(recipe, folders / "killed", {"licence": "x"}, silent, silent)
    for one, other in zip(straight, resumed, strict=True):
        one.save(folders / "a.safetensors")
        other.save(folders / "b.safetensors")
        assert (folders / "a.safetensors").read_bytes() == (folders / "b.safetensors").read_bytes()
        looks = [(folders / f"{name}.look.safetensors") for name in "ab"]
        assert looks[0].is_file() == looks[1].is_file() == (one.look is not None)
        assert one.look is None or looks[0].read_bytes() == looks[1].read_bytes()
    assert [line for line in said if line.startswith("left out: ")] == [line for line in said if "broken.wav" in line] != []
    assert [trained.model.word for trained in straight] == ["word", "sword"]
    straight[0].save(folders / "a.safetensors")
    card = load_model(folders / "a.safetensors").card
    assert card["licence"] == "x" and card["clips"] == {"word": 10, "other_speech": 10, "noise": 5, "synthetic": 4 + 8 + 4}
    assert card["recipe"]["phrases"]["word"]["positives"] == [f"{folders.name}/word"]
    assert str(folders) not in json.dumps(dict(card))
    assert card["figures"]["people"] == 5 and card["figures"]["missed"]["clean"].endswith("of 10"), "everybody is held out once"
    assert "no real voice" not in card["figures"]["on"]
    assert 450 <= straight[0].model.word_ms <= 650
    held_out = [load_model(folders / "straight" / f"sword-without-{part}.safetensors") for part in range(PARTS)]
    assert len({model.fingerprint for model in held_out}) == PARTS


def test_a_second_look_ships_where_it_helps(tiny, folders, monkeypatch):
    """Measured to miss less it is written beside each model, with the listener's threshold that goes with it; else it is not."""
    choose, choose_look = train.measure.choose, train.measure.choose_look

    def missing(found, count):
        return replace(found, missed=dict.fromkeys(found.missed, count))

    def alone(*given):
        at, found = choose(*given)
        return at, missing(found, 2)

    monkeypatch.setattr(train.measure, "choose", alone)
    for count, ships in ((1, True), (2, False)):

        def both(*given, count=count):
            at, found = choose_look(*given)
            return replace(at, threshold=0.25, look_threshold=0.3, smoothing_steps=3), missing(found, count)

        monkeypatch.setattr(train.measure, "choose_look", both)
        (trained,) = train.train(recipe_for(folders), folders / f"work{count}", {}, silent, silent)
        (folders / f"out{count}").mkdir()
        trained.save(folders / f"out{count}" / "m.safetensors")
        model = load_model(folders / f"out{count}" / "m.safetensors")
        assert (folders / f"work{count}" / "word-without-0.look.safetensors").is_file() == ships
        assert (model.second_look is not None) == ships
        if model.second_look:
            assert (model.threshold, model.smoothing_steps) == (0.25, 3)
            assert model.threshold != load_model(folders / "out1" / "m.safetensors", second_look=False).threshold
            assert model.deciding_threshold == 0.3
            assert (model.second_look.threshold, model.second_look.smoothing_steps) == (0.3, batches.LOOK_STEPS)
            assert model.second_look.card["calibration"]


def test_a_model_without_a_look_is_not_left_beside_an_earlier_models(tmp_path):
    one, other = (random_model(seed) for seed in (1, 2))
    train.Trained(one, other).save(tmp_path / "m.safetensors")
    assert load_model(tmp_path / "m.safetensors").second_look is not None
    train.Trained(other, None).save(tmp_path / "m.safetensors")
    model = load_model(tmp_path / "m.safetensors")
    assert model.second_look is None and model.fingerprint == other.fingerprint


def test_parts_are_told(tiny, folders):
    train.train(recipe_for(folders), folders / "straight", {}, silent, silent)
    assert set(json.loads((folders / "straight" / "parts.json").read_text()).values()) == set(range(PARTS))


def test_thresholds_for_another_rate_come_from_the_same_work_folder(tiny, folders):
    """Nothing is fitted again, and the card says which rate was asked for."""
    stamps, rates = [], []
    for rate in (0.1, 5.0):
        (trained,) = train.train(recipe_for(folders, fa_per_hour=rate), folders / "work", {}, silent, silent)
        stamps.append({path.name: path.stat().st_mtime_ns for path in (folders / "work").glob("*.pt")})
        rates.append(trained.model.card["recipe"]["fa_per_hour"])
    assert rates == [0.1, 5.0] and stamps[0] == stamps[1] and stamps[0]


def test_a_work_folder_belongs_to_one_recipe(tiny, folders, monkeypatch):
    with monkeypatch.context() as patched, pytest.raises(Killed):
        kill_at_round(patched, 1)
        train.train(recipe_for(folders), folders / "work", {}, silent, silent)
    others = ({"seed": 2}, {"rounds": 5}, {"tts": False}, {"phrases": (Phrase("word", (folders / "word",), ("word up",)),)})
    for changes in others:
        with pytest.raises(InputError, match="work: belongs to another recipe"):
            train.train(recipe_for(folders, **changes), folders / "work", {}, silent, silent)
    clip = next((folders / "word").iterdir())
    clip.with_name(f"new-{clip.name}").write_bytes(clip.read_bytes())
    with pytest.raises(InputError, match="work: belongs to another recipe or to other clips"):
        train.train(recipe_for(folders), folders / "work", {}, silent, silent)


def test_synthetic_voices_alone_make_a_model_whose_card_says_so(tiny, folders):
    recipe = recipe_for(folders, phrases=(Phrase("hey house", (), ("hay mouse",)),), negatives=(), noise=())
    (trained,) = train.train(recipe, folders / "work", {}, silent, silent)
    model = trained.model
    assert model.card["figures"]["on"].startswith("synthetic voices only: no real voice has been measured")
    assert "the threshold is higher than they ask for" in model.card["figures"]["on"]
    assert model.card["clips"] == {"word": 0, "other_speech": 0, "noise": 0, "synthetic": 4 + 4 + 4}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["w", "-o", "m.tflite"], "m.tflite: got the suffix '.tflite', wanted .safetensors"),
        (["w", "-o", "no/m.safetensors"], "no: no such folder"),
        (["w", "-o", "m.safetensors"], "got no --positives or no --negatives; wanted both, or --tts"),
        (["w", "v", "-o", "nowhere"], "nowhere: no such folder"),
        (["w", "v", "-o", ".", "--positives", "a", "--tts"], "--positives: got 1 for 2 words, wanted one each"),
        (["w", "w", "-o", ".", "--tts"], "WORD: got w, w, wanted each once"),
        (["a b", "A_b", "-o", ".", "--tts"], "WORD: got a b, A_b, wanted each once, for each is a file"),
        (["AC/DC", "-o", "m.safetensors", "--tts"], "WORD: got 'AC/DC', wanted what is said, in letters"),
        (["", "-o", "m.safetensors", "--tts"], "WORD: got '', wanted what is said"),
        (["w", "-o", "m.safetensors", "--tts", "--fa-per-hour", "nan"], "wanted a finite number"),
        (["w", "-o", "m.safetensors", "--positives", "a", "--negatives", "b", "--near", "c"], "--near: got phrases but no --tts"),
    ],
)
def test_what_cannot_be_trained_is_said_in_a_line(arguments, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(command, arguments)
    assert isinstance(result.exception, InputError | SystemExit) and told in f"{result.output} {result.exception}"
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_out_is_told_briefly_and_named_in_full(tmp_path):
    path = tmp_path / "left-out.txt"
    skipped = ["a.wav: too short", *(f"{n}.wav: has no transcript" for n in range(40)), "b.wav: too short"]
    assert train.left_out(skipped, path) == [
        "a.wav: too short",
        "b.wav: too short",
        f"0.wav, 1.wav and 38 more, which {path} names: has no transcript",
    ]
    assert path.read_text().splitlines() == skipped
    assert train.left_out([], path) == [] and path.read_text() == ""
