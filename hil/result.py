"""What a run found, as JSON values: the same whether they are shown, compared, or kept."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from farfield import InputError, Model
from farfield.hil.listening import Heard, Timed
from farfield.hil.room import Spoken
from farfield.hil.scene import RATE
from farfield.hil.scoring import Hit, match

FORMAT = "farfield hil run 1"
PASSED, FAILED, INVALID = "passed", "failed", "invalid"
_NUMBER = int | float
_WORD = {"text": str, "start": int}
_HIT = _WORD | {"latency_ms": _NUMBER, "direction_error_deg": _NUMBER | None}
_FIGURES = {"missed_share": _NUMBER, "false_accepts_per_24h": _NUMBER, "lost_samples": int, "system_p99_ms": _NUMBER | None}
_ENTRY = {
    "name": str, "repeat": int, "verdict": str, "reasons": [str], "figures": _FIGURES,
    "rooms": [{"name": str, "hits": [_HIT], "missed": [_WORD]}],
}  # fmt: skip
_RUN = {  # what of a run's result is read again
    "set": str, "rig": str, "faults": dict, "models": [{"word": str, "network": str, "threshold": _NUMBER}], "within_s": _NUMBER,
    "decides": str, "farfield": str, "entries": [_ENTRY],
}  # fmt: skip


def of_room(heard: Heard, models: Sequence[Model], within_s: float) -> dict[str, Any]:
    """One pass over one room. Places are in samples of the room at 16 kHz."""
    listened = {model.word.casefold() for model in models}
    words = [word for word in heard.scene.words if word.text.casefold() in listened]
    score = match([timed.event for timed in heard.events], words, RATE, within_s)
    timed = {id(one.event): one for one in heard.events}
    books = heard.books
    return {
        "name": heard.scene.name,
        "seconds": heard.scene.frames / RATE,
        "provenance": heard.scene.provenance,
        "microphones": len(heard.scene.profile.microphones),
        "references": heard.scene.references,
        "hits": [_hit(hit, timed[id(hit.event)]) for hit in score.hits],
        "missed": [_spoken(word) for word in score.missed],
        "false_accepts": [
            {"word": event.word, "decision": event.decision, "score": event.score, "direction_deg": event.direction_deg}
            for event in score.false_accepts
        ],
        "system_ms": _system_ms(heard),
        "lost_samples": books.lost,
        "counted": {name: getattr(books.counted, name) for name in ("missing", "epochs", "xruns", "damaged", "doubtful")},
        "lost_beyond": books.beyond,
        "missized_samples": books.missized,
        "unexplained": list(books.unexplained),
        "drift_ppm": heard.drift_ppm,
    }


def _hit(hit: Hit, timed: Timed) -> dict[str, Any]:
    event = hit.event
    return _spoken(hit.word) | {
        "decision": event.decision,
        "epoch": event.epoch,
        "event_host_ns": timed.event_host_ns,
        "score": event.score,
        "latency_ms": 1000 * hit.latency_s,
        "end_error_ms": 1000 * hit.end_error_s,
        "direction_deg": event.direction_deg,
        "direction_error_deg": hit.direction_error_deg,
        "system_ms": None if timed.system_s is None else 1000 * timed.system_s,
    }


def _spoken(word: Spoken) -> dict[str, Any]:
    return {"text": word.text, "start": word.start, "end": word.end, "talker": word.talker}


def _system_ms(heard: Heard) -> dict[str, float] | None:
    if not len(heard.system_s):
        return None
    median, p95, p99, largest = (float(1000 * value) for value in np.percentile(heard.system_s, [50, 95, 99, 100]))
    return {"median": median, "p95": p95, "p99": p99, "largest": largest, "count": len(heard.system_s)}


def load_result(path: Path) -> dict[str, Any]:
    """A run's result from its JSON file, or from the report's folder that holds it. InputError: it is none."""
    file = path / "result.json" if path.is_dir() else path
    try:
        found = json.loads(file.read_text("utf-8"))
    except FileNotFoundError:
        raise InputError(f"{file}: no such file; wanted a folder that `farfield hil run --report` wrote") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: cannot be read as JSON ({str(error)[:200]}); wanted a run's result") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InputError(f"{file}: is no run's result; wanted what `farfield hil run --report` wrote")
    wrong = _unlike(found, _RUN, "")
    if wrong is not None:
        raise InputError(f"{file}: field {wrong}: is missing or of another kind; wanted what `farfield hil run --report` wrote")
    return found


def _unlike(value: Any, shape: Any, at: str) -> str | None:
    """The first field that is not as the shape says (a type, a list of one shape, or a table of fields); None: there is none."""
    if isinstance(shape, list):
        if not isinstance(value, list):
            return at
        inside = [(one, shape[0], f"{at}[{number}]") for number, one in enumerate(value)]
    elif isinstance(shape, dict):
        if not isinstance(value, dict):
            return at
        inside = [(value.get(name, ...), wanted, f"{at}.{name}".removeprefix(".")) for name, wanted in shape.items()]
    else:
        return None if isinstance(value, shape) else at
    return next((wrong for one in inside if (wrong := _unlike(*one)) is not None), None)
