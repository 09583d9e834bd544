"""`farfield owner fit` on recorded voices that are known apart."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr

from farfield import kernels, load_model, load_owner
from farfield.cli import main
from farfield.errors import InputError
from farfield.look import Afresh, trunk
from farfield.training import owner as fitting
from reference.planted import layered, planted_owner

RATE = 16_000


@pytest.fixture(scope="module")
def voices(recordings, tmp_path_factory):
    """Folders of the word in two voices, 60 recorded clips each, played 10 % faster and 10 % slower; and a model for both."""
    from farfield.training.clips import read

    folder = tmp_path_factory.mktemp("voices")
    for name in ("high", "high-later", "low", "low-later"):
        (folder / name).mkdir()
    for n, path in enumerate(sorted((recordings / "keywords" / "alexa").glob("*.flac"))[:120]):
        high, later = n % 2, n >= 90
        samples = soxr.resample(read(path), 1.1 if high else 0.9, 1.0)
        soundfile.write(folder / (("high" if high else "low") + ("-later" if later else "")) / path.name, samples, RATE)
    replace(load_model("alexa"), threshold=0.3).save(folder / "model.safetensors")
    return folder


@pytest.fixture
def farfield(capsys):
    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return left.value.code, said.out.splitlines(), said.err.splitlines()

    return run


def fit(farfield, voices, output, own, others):
    return farfield("owner", "fit", voices / "model.safetensors", "--owner", own, "--others", others, "-o", output)


def test_a_voice_is_known_again_and_another_is_not(farfield, voices, tmp_path):
    """Fitted to 45 clips of each voice, asked about 15 others of each."""
    status, out, _ = fit(farfield, voices, tmp_path / "o.safetensors", voices / "high", voices / "low")
    figures = load_owner(tmp_path / "o.safetensors").figures["leave_one_out"]
    assert status == 0 and figures["owner_let_through"] in out[0] and figures["others_let_through"] in out[0]
    let, of = (int(n) for n in figures["owner_let_through"].split(" of "))
    wrong, others = (int(n) for n in figures["others_let_through"].split(" of "))
    assert of >= 40 and others >= 40 and let - wrong >= 20
    told = {}
    for name in ("high-later", "low-later"):
        detect = ("detect", *sorted((voices / name).iterdir()), "--json", "--model", voices / "model.safetensors")
        plain, found = (farfield(*detect, *more)[1] for more in ((), ("--owner", tmp_path / "o.safetensors")))
        assert all(json.loads(line)["owner"] > 0.5 for line in found)
        told[name] = len(found), len(plain)
    (high, of_high), (low, of_low) = told["high-later"], told["low-later"]
    assert of_high >= 13 and of_low >= 13
    assert high >= 0.65 * of_high and low <= 0.35 * of_low


@pytest.mark.parametrize("voice", ["low", "high"])
def test_voices_that_are_the_same_are_not_told_apart(farfield, voices, tmp_path, voice):
    """The figures of leaving one out are those of chance, over three ways to share one voice's clips out."""
    rights = []
    for run in (1, 2, 4):
        for n, path in enumerate(sorted((voices / voice).iterdir())):
            folder = tmp_path / f"{run}" / ("some" if n & run else "rest")
            folder.mkdir(parents=True, exist_ok=True)
            (folder / path.name).write_bytes(path.read_bytes())
        output = tmp_path / f"{run}.safetensors"
        assert fit(farfield, voices, output, tmp_path / f"{run}" / "some", tmp_path / f"{run}" / "rest")[0] == 0
        figures = load_owner(output).figures["leave_one_out"]
        right, own = (int(n) for n in figures["owner_let_through"].split(" of "))
        others, of = (int(n) for n in figures["others_let_through"].split(" of "))
        rights.append((right + of - others) / (own + of))
    assert 0.25 < np.mean(rights) < 0.75, rights


def test_persons_are_told_apart_by_the_embedding(recordings):
    """24 persons' clips of `computer`, a word that the network does not know: 5 clips against half of the other people.

    The persons of the other half are let through at the rate at which the owner is not: at most one in 20, in the mean.
    """
    from farfield.training.clips import contributors, read, word_span

    model = replace(load_model("alexa"), second_look=None)
    afresh, folder = Afresh(model, trunk(model)), recordings / "keywords" / "computer"
    people: dict[str, list] = {}
    for clip, person in contributors(folder).items():
        if clip.startswith("computer/") and len(people.setdefault(person, [])) < 10:
            samples = read(Path(folder.parent / f"{clip}.flac"))
            features = kernels.Features().process(np.rint(32_767 * np.pad(samples, RATE // 2)).astype(np.int16))
            end = (word_span(samples)[1] + RATE // 2) // 160 + 8
            afresh.p(features[max(0, end - 150) : end])
            people[person].append(afresh.embedding())
    people = {person: np.array(seen) for person, seen in people.items() if len(seen) >= 8}
    assert len(people) >= 20
    rates = []
    for number, owner in enumerate(people):
        rest = [person for person in people if person != owner]
        known, unknown = rest[number % 2 :: 2], rest[1 - number % 2 :: 2]
        x = np.concatenate([people[owner][:5], *(people[person] for person in known)])
        mean, scale, weights, _ = fitting.regression(x, np.arange(len(x)) < 5)
        own, others = (
            ((seen - mean) / scale) @ weights for seen in (people[owner][5:], np.concatenate([people[p] for p in unknown]))
        )
        at = np.unique(np.concatenate([own, others]))
        rates.append(min(max(np.mean(own <= t), np.mean(others > t)) for t in at))
    assert np.mean(rates) <= 0.05


def test_what_cannot_be_fitted_is_one_line(farfield, voices, tmp_path):
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted((voices / "low").iterdir())[:2]:
        (few / path.name).write_bytes(path.read_bytes())
    soundfile.write(few / "hum.wav", 0.1 * np.sin(np.arange(RATE)), RATE)
    output = tmp_path / "o.safetensors"
    base = ("owner", "fit", voices / "model.safetensors", "--owner", voices / "high")
    for arguments, told in (
        ((*base, "-o", output), "--others: got none"),
        ((*base, "--others", few, "-o", output), "--others: got 2 clips in which the model hears its word, wanted 3 or more"),
        ((*base, "--others", tmp_path / "nowhere", "-o", output), "nowhere: no such folder"),
        ((*base, "--others", voices / "low", "-o", tmp_path / "o.bin"), "o.bin: got the suffix '.bin'"),
        ((*base, "--others", voices / "low", "-o", tmp_path / "no" / "o.safetensors"), "o.safetensors: cannot be written"),
    ):
        status, out, err = farfield(*arguments)
        assert (status, out) == (2, []) and told in err[-1], err
    _, _, err = farfield(*base, "--others", few, "-o", output)
    assert any("few/hum.wav: the model does not hear its word in it" in line for line in err)
    assert not output.exists()
    with pytest.raises(InputError, match="--owner: got 0 clips"):
        fitting._embeddings(fitting.Embedder(load_model("alexa")), [tmp_path / "none"] * 0, "--owner", print)
    planted_owner(layered()[0], 0.5).save(output)
    status, out, err = farfield("detect", sorted((voices / "high").iterdir())[0], "--owner", output)
    assert (status, out) == (2, []) and "is fitted to the network" in err[0] and len(err) == 1
