"""How many near-misses wake the models that ship, spoken by synthetic voices: phrases that only sound like the word.

LIMIT is the share of the spoken near-misses that may wake a model: where the models that ship stand (11 to 26 % were counted,
of view glass 36; 5 % is wanted); it is there so that none gets worse. What people would say and what comes nearest by sound are
drawn in equal parts; said once each by three voices. The word itself by the same voices is the control.
"""

import shutil
from dataclasses import replace
from importlib import resources

import numpy as np
import pytest

from farfield.evaluation import near
from farfield.model import load_model, shipped_models
from farfield.training import neighbours, pronunciation
from farfield.training.voices import Voice

LIMIT = 0.3
LIMITS = {"view_glass": 0.37}  # above LIMIT
SEED = 3
PHRASES = 12  # of each kind
VOICES = (Voice("espeak-ng", "en-us+m3", 1.0, 1.0), Voice("flite", "slt", 1.0, 1.0), Voice("flite", "awb", 1.0, 1.0))

pytestmark = pytest.mark.skipif(
    not pronunciation.LEXICON.is_file() or not all(shutil.which(voice.program) for voice in VOICES),
    reason="needs voices and the CMU lexicon: apt-get install espeak-ng flite festlex-cmu",
)


def phrases(word):
    """Near-misses from the list that ships and from the neighbours, PHRASES of each."""
    random = np.random.default_rng(SEED)
    file = resources.files("farfield.training") / "phrases" / f"{word.replace(' ', '_')}.txt"
    kinds = (file.read_text("utf-8").splitlines(), neighbours.near_misses(word, 60, SEED))
    return [str(phrase) for kind in kinds for phrase in random.choice(kind, PHRASES, replace=False)]


@pytest.mark.parametrize("name", shipped_models())
def test_few_near_misses_wake_it_and_the_word_does(name, capsys):
    model = load_model(name)
    speeds = [replace(voice, speed=speed) for voice in VOICES for speed in (0.9, 1.0, 1.1)]
    word = near.count(model, [model.word], speeds)
    other = near.count(model, phrases(model.word), VOICES)
    with capsys.disabled():
        print(f"\n{name}: the word woke it {len(word.woken)} times of {word.spoken}, near-misses {len(other.woken)} times of "
              f"{other.spoken} ({other.rate:.1%}): {', '.join(other.woken)}")  # fmt: skip
    assert word.rate > 0.5, "a model that does not hear its word from these voices says nothing about near-misses"
    assert other.spoken == 2 * PHRASES * len(VOICES)
    assert other.rate <= LIMITS.get(name, LIMIT), other.woken


@pytest.mark.parametrize("name", shipped_models())
def test_a_model_that_wakes_to_anything_is_counted_as_such(name):
    """Planted: at a threshold of nothing, what sounds most like the word wakes it beyond the limit."""
    model = replace(load_model(name, second_look=False), threshold=0.0)
    assert near.count(model, phrases(model.word)[:8], VOICES[:1]).rate > LIMIT


def test_counts_each_phrase_by_each_voice():
    model = load_model(shipped_models()[0])
    heard = near.count(model, ["good morning everyone", model.word], VOICES[:2])
    assert heard == near.NearMisses(4, (model.word, model.word)) and heard.rate == 0.5
    assert near.count(model, [], VOICES) == near.NearMisses(0, ()) and near.count(model, [], VOICES).rate == 0.0
