"""The rate at which a set's models may be wrong: thresholds out of their cards, for all of its rooms."""

import json
from dataclasses import replace

import pytest

from farfield import InputError, load_model, shipped_models
from farfield.cli import main
from farfield.hil import demo_room, load_set

CARD = [[0.25, 9.0], [0.5, 0.2], [0.99609375, 0.02]]  # the last so high that no word of the demo reaches it
DEMO = f'[[room]]\nname = "r"\nfolder = "{demo_room()}"\n'


@pytest.fixture
def alexa(tmp_path):
    """The path of a model whose card holds the calibration that is given, or none."""

    def saved(calibration=None):
        model = replace(load_model("alexa", second_look=False), threshold=0.375)
        card = {name: value for name, value in model.card.items() if name != "calibration"}
        model = replace(model, card=card | ({"calibration": calibration} if calibration else {}))
        model.save(tmp_path / "alexa.safetensors")
        return str(tmp_path / "alexa.safetensors")

    return saved


@pytest.fixture
def rooms(tmp_path):
    """The path of a set with these lines at its top."""

    def written(top=""):
        (tmp_path / "set.toml").write_text(f'name = "s"\n{top}\n{DEMO}')
        return tmp_path / "set.toml"

    return written


@pytest.fixture
def hil_run(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main(["hil", "run", *map(str, arguments)])
        said = capsys.readouterr()
        return left.value.code, said.out, said.err

    return run


@pytest.mark.parametrize(
    ("top", "asked", "threshold"),
    [
        ("", {}, 0.375),
        ("", {"fa_per_hour": 0.2}, 0.5),
        ("fa_per_hour = 0.02", {}, 0.99609375),
        ("fa_per_hour = 0.0999", {}, 0.99609375),
        ("fa_per_hour = 0.2", {}, 0.5),
        ("fa_per_hour = 10", {}, 0.25),
        ("fa_per_hour = 0.02", {"fa_per_hour": 8.9}, 0.5),
        ("fa_per_hour = 0.02", {"threshold": 0.0}, 0.0),
    ],
)
def test_the_threshold_is_the_cards_for_the_rate(alexa, rooms, top, asked, threshold):
    """Pairs by hand: the lowest threshold that was no worse than the rate; what the command says comes before the set."""
    (model,) = load_set(rooms(top)).listeners([alexa(CARD)], **asked)
    assert model.deciding_threshold == threshold


def test_a_second_look_decides_by_its_own_card(rooms):
    (model,) = load_set(rooms("fa_per_hour = 0.3")).listeners(["alexa"])
    pairs = load_model("alexa").second_look.card["calibration"]
    assert model.second_look.threshold == min(threshold for threshold, rate in pairs if rate <= 0.3)
    assert model.threshold == load_model("alexa").threshold, "what is worth looking at stays"


def test_a_room_is_heard_at_it(hil_run, alexa, rooms):
    """The planted case: a rate that no word of the demo keeps to; the same set without it hears them all."""
    for top, words in ("", 0), ("fa_per_hour = 0.02", 4):
        _, out, _ = hil_run(rooms(top), "--model", alexa(CARD), "--json")
        found = json.loads(out)
        assert found["entries"][0]["figures"]["missed"] == words
        assert found["models"][0]["threshold"] == (0.99609375 if top else 0.375)
    assert "alexa at 0.500" in hil_run(rooms(top), "--model", alexa(CARD), "--fa-per-hour", 0.2)[1]


def test_a_part_of_a_set_keeps_its_rate(rooms):
    assert load_set(rooms("fa_per_hour = 0.02")).only(("r",)).fa_per_hour == 0.02


@pytest.mark.parametrize(
    ("card", "arguments", "told"),
    [
        (None, [], "s at 0.01 false accepts an hour: alexa: the model's card holds no calibration"),
        (CARD, [], "s at 0.01 false accepts an hour: alexa: got 0.01 false accepts an hour, wanted at least 0.02"),
        (CARD, ["--fa-per-hour", "1", "--threshold", "0.5"], "fa-per-hour: got a threshold too, wanted one of the two"),
        (CARD, ["--threshold", "1"], "threshold: got 1.0, wanted 0 or more and less than 1"),
        (CARD, ["--threshold", "nan"], "threshold: got nan"),
    ],
)
def test_a_rate_that_cannot_be_had_is_one_line_and_no_other_threshold(hil_run, alexa, rooms, card, arguments, told):
    status, out, err = hil_run(rooms("fa_per_hour = 0.01"), "--model", alexa(card), *arguments)
    assert (status, out) == (2, "") and told in err and err.count("\n") == 1


def test_a_model_without_calibration_listens_at_a_threshold_that_is_given(hil_run, alexa, rooms):
    status, out, _ = hil_run(rooms("fa_per_hour = 0.01"), "--model", alexa(), "--threshold", 0.375)
    assert status == 0 and "alexa at 0.375" in out


@pytest.mark.parametrize("wrong", ["-0.1", '"0.1"', "true", "nan", "inf", "[0.1]"])
def test_what_is_no_rate_is_one_line(rooms, wrong):
    with pytest.raises(InputError, match=r"field fa_per_hour: got .*, wanted a number from 0 to 3600") as caught:
        load_set(rooms(f"fa_per_hour = {wrong}"))
    assert "\n" not in str(caught.value)


def test_a_day_of_speech_asks_for_the_rate_that_its_bound_is():
    """3 in 24 h of speech all the time, at a share of a fifth; each model that ships was measured as quiet."""
    rooms = load_set("voice-assistant")
    (day,) = rooms.only(("24 h of speech",)).entries
    assert rooms.fa_per_hour == pytest.approx(day.bounds.false_accepts_per_24h_at_most / 24 / 5)
    for name in shipped_models():
        (model,) = rooms.listeners([name])
        rates = dict(map(tuple, (model.second_look or model).card["calibration"]))
        assert rates[model.deciding_threshold] <= 0.025 and model.deciding_threshold >= load_model(name).deciding_threshold
