"""What a room must come to: bounds on detections, misses, false accepts, latencies, directions and lost samples."""

from dataclasses import dataclass, fields, replace
from typing import Any

from farfield.hil.fields import Fields

_DAY_S = 86_400.0


@dataclass(frozen=True)
class Bounds:
    """None: not asked for. All are over the rooms of one entry of a set together.

    detections_*: events, whatever they hit. missed_share: of the words. false_accepts_per_24h: by the length of the sound.
    latency_ms: of the slowest hit, its decision less the word's end. direction_deg: of the hit farthest off.
    system_p99_ms: of decisions after the arrival of their sample, on rigs with a clock. lost_samples: 0 where no fault was
    asked for that loses some, unless it is given.
    """

    detections_at_least: float | None = None
    detections_at_most: float | None = None
    missed_at_most: float | None = None
    missed_share_at_most: float | None = None
    false_accepts_at_most: float | None = None
    false_accepts_per_24h_at_most: float | None = None
    latency_ms_at_most: float | None = None
    direction_deg_at_most: float | None = None
    system_p99_ms_at_most: float | None = None
    lost_samples_at_most: float | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is asked for."""
        return all(getattr(self, field.name) is None for field in fields(self))

    @staticmethod
    def read(table: Fields) -> "Bounds":
        """The bounds of a set's table. InputError: a name that is not known, or a value that is no number."""
        found: dict[str, float] = {}
        for field in fields(Bounds):
            if table.has(field.name):
                found[field.name] = table.number(field.name, 0, 1 if "share" in field.name else 1e9)
        table.done()
        return Bounds(**found)

    def tightened(self, goals: "Bounds") -> "Bounds":
        """These, with the goals in their place where there are any."""
        given = {field.name: getattr(goals, field.name) for field in fields(goals)}
        return replace(self, **{name: value for name, value in given.items() if value is not None})

    def broken(self, figures: "Figures") -> list[str]:
        """What does not keep to them, a line each; none where everything does."""
        found = []
        for field in fields(self):
            bound = getattr(self, field.name)
            name, least = field.name.removesuffix("_at_most"), field.name.endswith("_at_least")
            got = getattr(figures, name.removesuffix("_at_least"))
            if bound is None or got is None:
                continue
            if got < bound if least else got > bound:
                what = name.removesuffix("_at_least").replace("_", " ")
                found.append(f"{what} {got:.4g}, wanted at {'least' if least else 'most'} {bound:g}")
        return found


@dataclass(frozen=True)
class Figures:
    """What bounds are held against. None: nothing to measure. Counts are over all rooms together."""

    seconds: float
    words: int
    detections: int
    missed: int
    false_accepts: int
    lost_samples: int
    latency_ms: float | None
    direction_deg: float | None
    system_p99_ms: float | None

    @property
    def missed_share(self) -> float:
        """Of the words; 0 where there are none."""
        return self.missed / self.words if self.words else 0.0

    @property
    def false_accepts_per_24h(self) -> float:
        """False accepts in as much sound as a day has."""
        return self.false_accepts * _DAY_S / self.seconds


def of_rooms(rooms: list[dict[str, Any]]) -> Figures:
    """The figures of several rooms' results, as `farfield.hil.result` writes them."""
    latencies = [hit["latency_ms"] for room in rooms for hit in room["hits"]]
    errors = [hit["direction_error_deg"] for room in rooms for hit in room["hits"]]
    directions = [abs(error) for error in errors if error is not None]
    system = [room["system_ms"]["p99"] for room in rooms if room["system_ms"]]
    hits = len(latencies)
    missed, false_accepts = (sum(len(room[name]) for room in rooms) for name in ("missed", "false_accepts"))
    return Figures(
        seconds=sum(room["seconds"] for room in rooms),
        words=hits + missed,
        detections=hits + false_accepts,
        missed=missed,
        false_accepts=false_accepts,
        lost_samples=sum(room["lost_samples"] for room in rooms),
        latency_ms=max(latencies, default=None),
        direction_deg=max(directions, default=None),
        system_p99_ms=max(system, default=None),
    )
