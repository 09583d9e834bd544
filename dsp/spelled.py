"""A second look that also reads how the word is spelled: its own logit and the phones' best path, as one probability.

All of it is whole numbers, so that it comes out the same on every machine.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from farfield import kernels

_MOST_LOGITS = 16
_LIMITS = {
    "phone_slot": (1, 1_000),
    "within": (1, 1_000),
    "of_logit": (0, 1 << 20),
    "of_phones": (0, 1 << 20),
    "offset": (-(1 << 24), 1 << 24),
}


@dataclass(frozen=True)
class Spelled:
    """How a network with outputs for its word and outputs for phones is read.

    logit_slots: each holds the word's logits of the newest steps, int8, of which the largest counts; q is the sum of those.
    phone_slot: holds every step's phone logits, the last of them the blank's. spellings: the word's phones, one row for each
    way of saying it. within: in how many of the last steps the last phone may be reached. With s the spellings' score
    (`kernels.Spelling`), what is looked up in the network's last table is (of_logit * q + of_phones * s + offset) >> 8, held
    within int8.
    """

    logit_slots: Sequence[int]
    phone_slot: int
    spellings: Sequence[Sequence[int]]
    within: int
    of_logit: int
    of_phones: int
    offset: int

    @classmethod
    def read(cls, given: Any, network: Mapping[str, Any]) -> "Spelled":
        """From a model file's JSON values, checked against its network; TypeError or ValueError that names the field."""
        fields = ("logit_slots", *_LIMITS, "spellings")
        if not isinstance(given, Mapping) or set(given) != set(fields):
            raise ValueError(f"spelling: got {str(given)[:80]}, wanted an object of {', '.join(fields)}")
        for name, (low, high) in _LIMITS.items():
            value = given[name]
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"spelling.{name}: got {str(value)[:80]}, wanted a whole number from {low} to {high}")
        slots = given["logit_slots"]
        whole = isinstance(slots, Sequence) and all(isinstance(n, int) and not isinstance(n, bool) and n >= 1 for n in slots)
        if isinstance(slots, str) or not whole or not 1 <= len(slots) <= _MOST_LOGITS:
            raise ValueError(f"spelling.logit_slots: got {str(slots)[:80]}, wanted 1 to {_MOST_LOGITS} whole numbers from 1")
        made = cls(**given)
        made.check(network)
        return made

    def check(self, network: Mapping[str, Any]) -> None:
        """ValueError or TypeError where the network has no such slots, or its last layer is no table of one channel."""
        slots = network["slots"]
        for name, used in (("phone_slot", [self.phone_slot]), ("logit_slots", self.logit_slots)):
            for slot in used:
                if slot >= len(slots):
                    raise ValueError(f"spelling.{name}: got {slot}, wanted less than {len(slots)}, the slots")
        for slot in self.logit_slots:
            if slots[slot]["channels"] != 1:
                raise ValueError(f"spelling.logit_slots: got one of {slots[slot]['channels']} channels, wanted 1")
        last = network["layers"][-1]
        if last["kind"] != "table" or len(last["table"]) != 1:
            raise ValueError("spelling: the network's last layer is no table, wanted one of a single channel")
        self.kernel(network)

    def kernel(self, network: Mapping[str, Any]) -> kernels.Spelling:
        """What finds the best path."""
        return kernels.Spelling(self.spellings, network["slots"][self.phone_slot]["channels"], self.within)

    def logit(self, scorer: kernels.Scorer) -> int:
        """The sum of the networks' largest logits after a stretch."""
        return sum(int(scorer.slot(slot).max()) for slot in self.logit_slots)

    def index(self, logit: int, path: int) -> int:
        """Where in the table the probability stands, from -128."""
        return max(-128, min(127, (self.of_logit * logit + self.of_phones * path + self.offset) >> 8))

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        return asdict(self) | {
            "logit_slots": list(self.logit_slots),
            "spellings": [list(spelling) for spelling in self.spellings],
        }
