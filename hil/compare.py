"""What changed between two runs of a set: words, false accepts, latencies, verdicts; and which of it is a regression."""

from dataclasses import dataclass
from statistics import median
from typing import Any

from farfield.hil.result import INVALID, PASSED

Found = dict[str, Any]


@dataclass(frozen=True)
class Change:
    """One thing that is otherwise than it was, and whether it is worse."""

    room: str
    text: str
    is_worse: bool


def compare(before: Found, after: Found, *, latency_ms: float = 1.0, system_ms: float = 5.0) -> list[Change]:
    """Every change, in the order of the rooms.

    Worse are: a verdict that was passed and is not, an entry that is no longer there or is invalid, a word that was heard and is
    missed, more false accepts, more samples lost, a median latency that grew by more than latency_ms, a 99th percentile of the
    system's that grew by more than system_ms. What was run otherwise (another set, rig or model) is told, and is not worse.
    """
    changes = [
        Change("", f"{name}: {_shown(before[name])} -> {_shown(after[name])}", False)
        for name in ("set", "rig", "faults", "models", "within_s", "farfield")
        if before[name] != after[name]
    ]
    then, now = ({(entry["name"], entry["repeat"]): entry for entry in run["entries"]} for run in (before, after))
    for key, old in then.items():
        name = key[0] + (f" #{key[1] + 1}" if key[1] else "")
        if key not in now:
            changes.append(Change(name, "is no longer there", True))
            continue
        changes += [Change(name, text, is_worse) for text, is_worse in _entry(old, now[key], latency_ms, system_ms)]
    for key in now.keys() - then.keys():
        changes.append(Change(key[0], "is new", False))
    return changes


def _entry(old: Found, new: Found, latency_ms: float, system_ms: float) -> list[tuple[str, bool]]:
    found = []
    if old["verdict"] != new["verdict"]:
        worse = new["verdict"] == INVALID or old["verdict"] == PASSED
        found.append((f"{old['verdict']} -> {new['verdict']}: {'; '.join(new['reasons']) or 'nothing to complain of'}", worse))
    heard_then, heard_now = _words(old, "hits"), _words(new, "hits")
    missed_now = _words(new, "missed")
    for key in sorted(heard_then.keys() & missed_now.keys()):
        found.append((f"{_at(key)} was heard and is missed", True))
    for key in sorted(_words(old, "missed").keys() & heard_now.keys()):
        found.append((f"{_at(key)} was missed and is heard", False))
    if heard_then.keys() | _words(old, "missed").keys() != heard_now.keys() | missed_now.keys():
        found.append(("other words are said in it: it is another room, and its misses cannot be compared one by one", False))
        share = [entry["figures"]["missed_share"] for entry in (old, new)]
        if share[1] > share[0]:
            found.append((f"missed: {100 * share[0]:.1f} % -> {100 * share[1]:.1f} %", True))
    for name in ("false_accepts_per_24h", "lost_samples"):
        was, has = old["figures"][name], new["figures"][name]
        if was != has:
            found.append((f"{name.replace('_', ' ')}: {was:.4g} -> {has:.4g}", has > was))
    both = heard_then.keys() & heard_now.keys()
    moved = [heard_now[key]["latency_ms"] - heard_then[key]["latency_ms"] for key in both]
    if any(moved):
        then, now = (median([hit["latency_ms"] for hit in heard.values()]) for heard in (heard_then, heard_now))
        grew = now - then
        told = f"{sum(map(bool, moved))} words decided at another sample, {min(moved):+.0f} to {max(moved):+.0f} ms; "
        found.append((told + f"median latency {grew:+.1f} ms", grew > latency_ms))
    was, has = old["figures"]["system_p99_ms"], new["figures"]["system_p99_ms"]
    if was is not None and has is not None and abs(has - was) > system_ms:
        found.append((f"system latency, p99: {was:.1f} -> {has:.1f} ms", has > was))
    return found


def _words(entry: Found, kind: str) -> dict[tuple[str, int, str], Found]:
    return {(room["name"], one["start"], one["text"]): one for room in entry["rooms"] for one in room[kind]}


def _at(key: tuple[str, int, str]) -> str:
    return f"{key[0]}, {key[1] / 16_000:.2f} s: {key[2]}"


def _shown(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(f"{model['word']} {model['network']} at {model['threshold']:.3f}" for model in value)
    return str(value) if value != {} else "none"
