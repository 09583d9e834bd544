"""farfield: the ear of a voice device."""

from farfield._version import __version__

__all__ = ["__version__"]
