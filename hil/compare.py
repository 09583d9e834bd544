"""What changed between two runs of a set: words, false accepts, latencies, verdicts; and which of it is a regression."""

import re
from dataclasses import dataclass
from statistics import median
from typing import Any

from farfield.hil.result import FAILED, INVALID, PASSED

Found = dict[str, Any]
Key = tuple[str, int, str]  # of a word: its room, where it starts, what is said
_NUMBER = re.compile(r"[-+]?\d[\d.]*(e[-+]?\d+)?")


@dataclass(frozen=True)
class Change:
    """One thing that is otherwise than it was, and whether it is worse."""

    room: str
    text: str
    is_worse: bool


def compare(
    before: Found, after: Found, *, latency_ms: float = 1.0, system_ms: float = 5.0, direction_deg: float = 5.0
) -> list[Change]:
    """Every change, in the order of the rooms, and what is no change and still says nothing: an entry that is invalid.

    Worse are: a verdict that was passed and is not, an entry that is no longer there or is invalid, a reason to fail that was
    none, a word that was heard and is missed, more false accepts, more samples lost, a median latency that grew by more than
    latency_ms, a largest error of direction that grew by more than direction_deg, a 99th percentile of the system's latency that
    grew by more than system_ms. Latencies and directions are those of the words that both heard; where other words are said, of
    all. What was run otherwise (another set, rig or model, goals for bounds) is told, and is not worse.
    """
    changes = [
        Change("", f"{name}: {_shown(before[name])} -> {_shown(after[name])}", False)
        for name in ("set", "rig", "faults", "models", "within_s", "decides", "farfield")
        if before[name] != after[name]
    ]
    then, now = ({(entry["name"], entry["repeat"]): entry for entry in run["entries"]} for run in (before, after))
    for key, old in then.items():
        name = _name(*key)
        if key not in now:
            changes.append(Change(name, "is no longer there", True))
            continue
        found = _verdict(old, now[key]) + _entry(old, now[key], latency_ms, system_ms, direction_deg)
        changes += [Change(name, text, is_worse) for text, is_worse in found]
    for key, new in now.items():
        if key not in then:
            changes.append(Change(_name(*key), f"is new: {_told(new)}", new["verdict"] == INVALID))
    return changes


def _name(name: str, repeat: int) -> str:
    return name + (f" #{repeat + 1}" if repeat else "")


def _told(entry: Found) -> str:
    return f"{entry['verdict']}: {'; '.join(entry['reasons']) or 'nothing to complain of'}"


def _verdict(old: Found, new: Found) -> list[tuple[str, bool]]:
    if old["verdict"] != new["verdict"]:
        return [(f"{old['verdict']} -> {_told(new)}", new["verdict"] == INVALID or old["verdict"] == PASSED)]
    if new["verdict"] == INVALID:
        return [(f"still {_told(new)}", True)]
    known = {_kind(reason) for reason in old["reasons"]}
    further = [reason for reason in new["reasons"] if _kind(reason) not in known]
    return [(f"still {FAILED}, and now for: {'; '.join(further)}", True)] if further else []


def _kind(reason: str) -> str:
    """A reason without its numbers: what was missed by another amount is the same reason."""
    return _NUMBER.sub("", reason)


def _entry(old: Found, new: Found, latency_ms: float, system_ms: float, direction_deg: float) -> list[tuple[str, bool]]:
    found = []
    heard_then, heard_now = _words(old, "hits"), _words(new, "hits")
    missed_now = _words(new, "missed")
    for key in sorted(heard_then.keys() & missed_now.keys()):
        found.append((f"{_at(key)} was heard and is missed", True))
    for key in sorted(_words(old, "missed").keys() & heard_now.keys()):
        found.append((f"{_at(key)} was missed and is heard", False))
    is_other = heard_then.keys() | _words(old, "missed").keys() != heard_now.keys() | missed_now.keys()
    if is_other:
        found.append(("other words are said in it: it is another room, and its words cannot be compared one by one", False))
        share = [entry["figures"]["missed_share"] for entry in (old, new)]
        if share[1] > share[0]:
            found.append((f"missed: {100 * share[0]:.1f} % -> {100 * share[1]:.1f} %", True))
    for name in ("false_accepts_per_24h", "lost_samples"):
        was, has = old["figures"][name], new["figures"][name]
        if was != has:
            found.append((f"{name.replace('_', ' ')}: {was:.4g} -> {has:.4g}", has > was))
    if not is_other:
        both = heard_then.keys() & heard_now.keys()
        heard_then, heard_now = ({key: heard[key] for key in both} for heard in (heard_then, heard_now))
    found += _hits(heard_then, heard_now, latency_ms, direction_deg)
    was, has = old["figures"]["system_p99_ms"], new["figures"]["system_p99_ms"]
    if was is not None and has is not None and abs(has - was) > system_ms:
        found.append((f"system latency, p99: {was:.1f} -> {has:.1f} ms", has > was))
    return found


def _hits(then: dict[Key, Found], now: dict[Key, Found], latency_ms: float, direction_deg: float) -> list[tuple[str, bool]]:
    """How late the words were heard, and from how far off their direction."""
    found = []
    late_then, late_now = ({key: hit["latency_ms"] for key, hit in heard.items()} for heard in (then, now))
    if late_then and late_now and late_then != late_now:
        grew = median(late_now.values()) - median(late_then.values())
        moved = [late_now[key] - late for key, late in late_then.items() if late_now.get(key, late) != late]
        told = f"{len(moved)} words decided at another sample, {min(moved):+.0f} to {max(moved):+.0f} ms; " if moved else ""
        found.append((told + f"median latency {grew:+.1f} ms", grew > latency_ms))
    errors = ([hit["direction_error_deg"] for hit in heard.values()] for heard in (then, now))
    was, has = (max((abs(error) for error in known if error is not None), default=None) for known in errors)
    if was is not None and has is not None and abs(has - was) > direction_deg:
        found.append((f"direction, farthest off: {was:.0f} -> {has:.0f}°", has > was))
    return found


def _words(entry: Found, kind: str) -> dict[Key, Found]:
    return {(room["name"], one["start"], one["text"]): one for room in entry["rooms"] for one in room[kind]}


def _at(key: Key) -> str:
    return f"{key[0]}, {key[1] / 16_000:.2f} s: {key[2]}"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(f"{model['word']} {model['network']} at {model['threshold']:.3f}" for model in value)
    return str(value) if value != {} else "none"
