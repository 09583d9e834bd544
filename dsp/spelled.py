"""A second look that also reads how the word is spelled: its own logit and the phones' best path, as one probability.

All of it is whole numbers, so that it comes out the same on every machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from farfield import kernels

_MOST_SLOTS = 16
_SLOTS = ("logit_slots", "phone_slots")
_LIMITS = {
    "within": (1, 1_000),
    "of_logit": (0, 1 << 20),
    "of_phones": (0, 1 << 20),
    "offset": (-(1 << 24), 1 << 24),
}


@dataclass(frozen=True)
class Spelled:
    """How a network with outputs for its word and outputs for phones is read.

    logit_slots: each holds the word's logits of the newest steps, int8, of which the largest counts; q is the sum of those.
    phone_slots: each holds every step's phone logits, the last of them the blank's. spellings: the word's phones, one row for
    each way of saying it. within: in how many of the last steps the last phone may be reached. With s the sum of the spellings'
    scores by each of them (`kernels.Spelling`), what is looked up in the network's last table is
    (of_logit * q + of_phones * s + offset) >> 8, held within int8.
    """

    logit_slots: Sequence[int]
    phone_slots: Sequence[int]
    spellings: Sequence[Sequence[int]]
    within: int
    of_logit: int
    of_phones: int
    offset: int

    @classmethod
    def read(cls, given: Any, network: Mapping[str, Any]) -> "Spelled":
        """From a model file's JSON values, checked against its network; TypeError or ValueError that names the field."""
        fields = (*_SLOTS, *_LIMITS, "spellings")
        if not isinstance(given, Mapping) or set(given) != set(fields):
            raise ValueError(f"spelling: got {str(given)[:80]}, wanted an object of {', '.join(fields)}")
        for name, (low, high) in _LIMITS.items():
            value = given[name]
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"spelling.{name}: got {str(value)[:80]}, wanted a whole number from {low} to {high}")
        for name in _SLOTS:
            slots = given[name]
            whole = isinstance(slots, Sequence) and all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in slots)
            if isinstance(slots, str) or not whole or not 1 <= len(slots) <= _MOST_SLOTS:
                raise ValueError(f"spelling.{name}: got {str(slots)[:80]}, wanted 1 to {_MOST_SLOTS} whole numbers from 1")
        made = cls(**given)
        made.check(network)
        return made

    def check(self, network: Mapping[str, Any]) -> None:
        """ValueError or TypeError where the network has no such slots, or its last layer is no table of one channel."""
        slots = network["slots"]
        for name in _SLOTS:
            for slot in getattr(self, name):
                if slot >= len(slots):
                    raise ValueError(f"spelling.{name}: got {slot}, wanted less than {len(slots)}, the slots")
        for slot in self.logit_slots:
            if slots[slot]["channels"] != 1:
                raise ValueError(f"spelling.logit_slots: got one of {slots[slot]['channels']} channels, wanted 1")
        widths = {slots[slot]["channels"] for slot in self.phone_slots}
        if len(widths) > 1:
            raise ValueError(f"spelling.phone_slots: got {sorted(widths)} channels, wanted as many in each")
        last = network["layers"][-1]
        if last["kind"] != "table" or len(last["table"]) != 1:
            raise ValueError("spelling: the network's last layer is no table, wanted one of a single channel")
        self.kernel(network)

    def kernel(self, network: Mapping[str, Any]) -> kernels.Spelling:
        """What finds the best path."""
        return kernels.Spelling(self.spellings, network["slots"][self.phone_slots[0]]["channels"], self.within)

    def path(self, kernel: kernels.Spelling, scorer: kernels.Scorer, steps: int) -> int | None:
        """The sum of the best paths' scores after a stretch of so many steps; None where no path fits into them."""
        logits = (scorer.slot(slot) for slot in self.phone_slots)
        paths = [kernel.process(told[len(told) - min(steps, len(told)) :]) for told in logits]
        found = [path for path in paths if path is not None]
        return sum(found) if len(found) == len(paths) else None

    def logit(self, scorer: kernels.Scorer) -> int:
        """The sum of the networks' largest logits after a stretch."""
        return sum(int(scorer.slot(slot).max()) for slot in self.logit_slots)

    def index(self, logit: int, path: int) -> int:
        """Where in the table the probability stands, from -128."""
        return max(-128, min(127, (self.of_logit * logit + self.of_phones * path + self.offset) >> 8))

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self) | {
            **{name: list(getattr(self, name)) for name in _SLOTS},
            "spellings": [list(spelling) for spelling in self.spellings],
        }
