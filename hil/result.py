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
    except (OSError, ValueError) as error:
        raise InputError(f"{file}: cannot be read as JSON ({str(error)[:200]}); wanted a run's result") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise InputError(f"{file}: is no run's result; wanted what `farfield hil run --report` wrote")
    return found
