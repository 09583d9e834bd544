"""What goes wrong in a stream, whatever device it is from."""

from dataclasses import dataclass


@dataclass
class Counts:
    """So far. Samples are per channel, at 16 kHz.

    overruns: as the device told them, over all epochs. missing_samples: in gaps within an epoch, for whatever reason. epochs:
    begun after the first. reopened: times that the device went away and came back.
    """

    overruns: int = 0
    missing_samples: int = 0
    epochs: int = 0
    reopened: int = 0
