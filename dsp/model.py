"""Wake-word models: what a model is, and where one is loaded from."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from farfield import kernels, microwakeword, modelfile
from farfield.errors import ModelError
from farfield.joint import TENSORS, Joint

FEATURES = 40
MODEL, LOOK = ".safetensors", ".look.safetensors"
DETECTOR = {
    "smoothing_steps": (1, 1000),
    "threshold": (0.0, 1.0),
    "refractory_ms": (0, 60_000),
    "end_lag_ms": (-2_000, 5_000),
    "word_ms": (1, 10_000),
}

LISTENER = ("smoothing_steps", "threshold", "end_lag_ms")


@dataclass(frozen=True)
class Model:
    """A wake word's network, checked, and how its scores are read.

    word: what is said. stride: 10 ms frames a step. smoothing_steps: scores in the moving average. threshold: the probability
    that the average must exceed. refractory_ms: the least time between two events. end_lag_ms: how long after the word's end
    the decision falls. word_ms: how long the word is. card: provenance, licence and measured figures, as JSON values.

    second_look: None, or a network of more weights for the same word, which must agree before an event leaves. It is run over
    the 1.5 s before a candidate only, and its probability is the largest score of its last `smoothing_steps` steps: no mean is
    taken. It is a file of its own, which `save` does not write; `dataclasses.replace(model, second_look=None)` does without.

    joint: None, or how a second look's network is read together with heads on the embedding and with its listener.
    """

    word: str
    smoothing_steps: int
    threshold: float
    refractory_ms: int
    end_lag_ms: int
    word_ms: int
    card: Mapping[str, Any]
    network: Mapping[str, Any] = field(repr=False)
    second_look: "Model | None" = field(default=None, repr=False)
    joint: Joint | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if not (isinstance(self.word, str) and 0 < len(self.word) <= 100 and self.word.isprintable()):
            raise ModelError(f"word: got {str(self.word)[:80]!r}, wanted 1 to 100 printable characters")
        for name, (low, high) in DETECTOR.items():
            value = getattr(self, name)
            whole = isinstance(low, int)
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float) or not low <= value <= high:
                kind = "a whole number" if whole else "a number"
                raise ModelError(f"detector.{name}: got {str(value)[:80]}, wanted {kind} from {low} to {high}")
        if not isinstance(self.card, Mapping):
            raise ModelError(f"card: got {type(self.card).__name__}, wanted an object")
        try:
            scorer = self.scorer()
            if self.joint is not None:
                self.joint.check(self.network)
        except (TypeError, ValueError, OverflowError) as error:
            raise ModelError(str(error)[:300]) from None
        if scorer.channels != FEATURES:
            raise ModelError(f"slots[0].channels: got {scorer.channels}, wanted {FEATURES}, the features of a frame")
        check_second_look(self.word, self.second_look)

    @property
    def stride(self) -> int:
        """10 ms frames a step."""
        return int(self.network["stride"])

    @property
    def deciding_threshold(self) -> float:
        """The probability that decides: the second look's, where there is one, else the model's own.

        With a second look the model's own only says what is worth looking at.
        """
        return self.second_look.threshold if self.second_look else self.threshold

    def deciding_at(self, threshold: float) -> "Model":
        """This model with another deciding threshold. ModelError: not from 0 to 1."""
        if self.second_look:
            return replace(self, second_look=replace(self.second_look, threshold=threshold))
        return replace(self, threshold=threshold)

    def threshold_for(self, false_accepts_per_hour: float) -> float:
        """The lowest deciding threshold that woke no more often than that where the model was measured, by its card.

        The card's `calibration` holds pairs (threshold, false accepts an hour), thresholds rising; the second look's card
        those of both together, for its own threshold. ModelError: a card without them, or with none that is quiet enough.
        """
        of_both = self.second_look.card.get("calibration") if self.second_look else None
        pairs = of_both or self.card.get("calibration")
        numbers = isinstance(pairs, list) and all(
            isinstance(pair, list) and len(pair) == 2 and all(isinstance(x, int | float) for x in pair) for pair in pairs
        )
        if not isinstance(pairs, list) or not pairs or not numbers:
            raise ModelError(f"{self.word}: the model's card holds no calibration; wanted a threshold instead, as a probability")
        for threshold, rate in pairs:
            if rate <= false_accepts_per_hour and 0 <= threshold < 1:
                return float(threshold)
        least = min(rate for _, rate in pairs)
        raise ModelError(
            f"{self.word}: got {false_accepts_per_hour:g} false accepts an hour, wanted at least {least:g}, "
            "the fewest at which the model was measured"
        )

    def looked_over_by(self, look: "Model") -> "Model":
        """This model with a second look, read in the laxer way that the look's card says goes with it.

        The card's `listener`, where it has one, holds some of LISTENER's fields in place of the model's own. ModelError: a look
        for another word, or a field or a value that is none.
        """
        laxer = look.card.get("listener", {})
        if not isinstance(laxer, Mapping) or not set(laxer) <= set(LISTENER):
            raise ModelError(f"second look: card.listener: got {str(laxer)[:80]}, wanted an object of {', '.join(LISTENER)}")
        return replace(self, second_look=look, **laxer)

    def scorer(self, level: str | None = None) -> kernels.Scorer:
        """A fresh scorer of this model, at an instruction level of `kernels.levels()` (None: the one in use)."""
        made = kernels.Scorer if level is None else kernels.at_level(level).Scorer
        return made(**self.network)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the network alone, in hexadecimal: the same where every score is, whatever the thresholds and the card."""
        structure, tensors = self._parts()
        digest = hashlib.sha256(json.dumps(structure, sort_keys=True).encode())
        for name in sorted(tensors):
            digest.update(f"{name} {tensors[name].dtype.str} {tensors[name].shape}".encode() + tensors[name].tobytes())
        return digest.hexdigest()

    def _parts(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
        """The networks as a model file has them: what is JSON, and the tensors."""
        layers, tensors = modelfile.parted(self.network["layers"])
        structure = {**{key: self.network[key] for key in ("stride", "quantiser", "slots")}, "layers": layers}
        if self.joint is not None:
            structure["joint"], own = self.joint.as_parts()
            tensors |= own
        return structure, tensors

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as a safetensors model file, whole or not at all."""
        structure, tensors = self._parts()
        description = {
            "format": modelfile.FORMAT,
            "word": self.word,
            "rate": 16000,
            **structure,
            "detector": {name: getattr(self, name) for name in DETECTOR},
            "card": dict(self.card),
        }
        modelfile.write(path, description, tensors)


def from_bytes(data: bytes, name: str = "model") -> Model:
    """The model in a safetensors file's bytes; ModelError, one line that opens with `name`."""
    try:
        description, tensors = modelfile.parse(data)
        heads = {name: tensors.pop(name) for name in list(tensors) if name.startswith(TENSORS)}
        network = modelfile.assemble(description, tensors)
        detector = description["detector"]
        if not isinstance(detector, dict) or set(detector) != set(DETECTOR):
            raise ValueError(f"detector: wanted an object of {', '.join(DETECTOR)}")
        if "spelling" in description:
            raise ValueError("spelling: is of a second look that farfield reads no more; wanted one trained anew")
        joint = None
        if "joint" in description or heads:
            own = {name.removeprefix(TENSORS): tensor for name, tensor in heads.items()}
            joint = Joint.read(description.get("joint"), own, network)
        return Model(word=description["word"], card=description["card"], network=network, joint=joint, **detector)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{name}: {str(error)[:300]}") from None


def shipped_models() -> list[str]:
    """The names of the models that ship with farfield."""
    folder = resources.files("farfield") / "models"
    if not folder.is_dir():
        return []
    names = [item.name for item in folder.iterdir()]
    return sorted(name.removesuffix(MODEL) for name in names if name.endswith(MODEL) and not name.endswith(LOOK))


def load_model(name_or_path: str | os.PathLike[str], *, second_look: bool = True) -> Model:
    """The model of a shipped name, a `.safetensors` file, or a published microWakeWord `.tflite` file.

    A `.tflite` file takes its word, threshold and smoothing from the `.json` file beside it, where there is one. The model's
    second look comes with it where there is one (see `load_second_look`), unless second_look is False.
    Errors: ModelError, one line that names the file, the field, what came and what was wanted.
    """
    text = _text(name_or_path)
    if Path(text).suffix.lower() == ".tflite":
        return _imported(Path(text))
    if Path(text).suffix.lower() == MODEL:
        model = from_bytes(modelfile.read_bytes(text), text)
    else:
        model = from_bytes(_shipped(text, MODEL).read_bytes(), text + MODEL)
    if model.joint is not None:
        raise ModelError(f"{text}: joint: only a second look has one; wanted a listener, or this file as NAME{LOOK} beside one")
    look = load_second_look(text) if second_look else None
    try:
        return model if look is None else model.looked_over_by(look)
    except ModelError as error:
        raise ModelError(f"{text}: {error}") from None


def load_second_look(name_or_path: str | os.PathLike[str]) -> Model | None:
    """The second look of a model: NAME.look.safetensors that ships, or lies beside the file NAME.safetensors; else None.

    Errors: as of `load_model`.
    """
    text = _text(name_or_path)
    suffix = Path(text).suffix.lower()
    if suffix == ".tflite":
        return None
    if suffix == MODEL:
        beside = Path(text).with_suffix(LOOK)
        return from_bytes(modelfile.read_bytes(beside), str(beside)) if beside.exists() else None
    file = _shipped(text, LOOK)
    return from_bytes(file.read_bytes(), text + LOOK) if file.is_file() else None


def check_second_look(word: str, second_look: Model | None) -> None:
    """ModelError where the second look is for another word."""
    if second_look is not None and second_look.word.casefold() != word.casefold():
        raise ModelError(f"second look: got one for {second_look.word!r}, wanted one for {word!r}, the model's word")


def _text(name_or_path: str | os.PathLike[str]) -> str:
    text = os.fspath(name_or_path)
    if not isinstance(text, str):
        raise ModelError(f"{text!r}: got {type(text).__name__}, wanted a name or a path")
    return text


def _shipped(name: str, suffix: str) -> Traversable:
    """The file of a model that ships (by its file's name, or by its word), or of its second look, which need not be there."""
    shipped = shipped_models()
    file = name.replace(" ", "_")
    if file not in shipped:
        raise ModelError(f"{name}: is no model that ships ({', '.join(shipped) or 'there is none'}), "
                         "and no path to a .safetensors or .tflite file")  # fmt: skip
    return resources.files("farfield") / "models" / (file + suffix)


def _imported(path: Path) -> Model:
    data = modelfile.read_bytes(path)
    about = path.with_suffix(".json")
    described = modelfile.read_bytes(about) if about.exists() else None
    try:
        fields = microwakeword.describe(path.stem, described)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{about}: {str(error)[:300]}") from None
    try:
        return Model(network=microwakeword.network(data), **fields)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"{path}: {str(error)[:300]}") from None
