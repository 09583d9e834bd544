"""A bounds-checked reader of FlatBuffers, for files that may be damaged or hostile.

Every offset is checked against the file before it is followed, vectors are views (never larger than the file), and nothing
here recurses, so that a file can cost no more time or memory than its own size allows. Format: flatbuffers.dev/internals.
"""

import struct
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from farfield.errors import InputError


class Broken(InputError):
    """The bytes are not the FlatBuffer that was expected."""


class Buffer:
    """The file's bytes with checked loads, little-endian."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def number(self, code: str, at: int) -> int:
        size = struct.calcsize(code)
        if at < 0 or at + size > len(self.data):
            raise Broken(f"an offset points to byte {at} of {len(self.data)}")
        return int(struct.unpack_from("<" + code, self.data, at)[0])

    def root(self) -> "Table":
        return Table(self, self.number("I", 0))


class Table:
    """One table: fields by their number in the schema."""

    def __init__(self, buffer: Buffer, at: int) -> None:
        self.buffer, self.at = buffer, at
        self.vtable = at - buffer.number("i", at)
        self.vtable_size = buffer.number("H", self.vtable)
        if self.vtable_size < 4 or self.vtable + self.vtable_size > len(buffer.data):
            raise Broken(f"the table at byte {at} has no valid list of fields")

    def _field(self, index: int) -> int | None:
        entry = 4 + 2 * index
        if entry + 2 > self.vtable_size:
            return None
        offset = self.buffer.number("H", self.vtable + entry)
        return self.at + offset if offset else None

    def scalar(self, index: int, code: str, default: int = 0) -> int:
        """A number of the given `struct` code; the default where the field is absent."""
        at = self._field(index)
        return default if at is None else self.buffer.number(code, at)

    def _follow(self, index: int) -> int | None:
        at = self._field(index)
        return None if at is None else at + self.buffer.number("I", at)

    def table(self, index: int) -> "Table | None":
        at = self._follow(index)
        return None if at is None else Table(self.buffer, at)

    def vector(self, index: int, dtype: DTypeLike) -> NDArray[Any]:
        """A vector of numbers as a read-only view; empty where the field is absent."""
        kind = np.dtype(dtype).newbyteorder("<")
        at = self._follow(index)
        if at is None:
            return np.empty(0, kind)
        count = self.buffer.number("I", at)
        if at + 4 + count * kind.itemsize > len(self.buffer.data):
            raise Broken(f"a vector at byte {at} claims {count} values, more than the file holds")
        return np.frombuffer(self.buffer.data, kind, count, at + 4)

    def tables(self, index: int, most: int) -> "list[Table]":
        """A vector of at most `most` tables."""
        at = self._follow(index)
        if at is None:
            return []
        offsets = self.vector(index, np.uint32)
        if len(offsets) > most:
            raise Broken(f"a vector claims {len(offsets)} tables, wanted at most {most}")
        return [Table(self.buffer, at + 4 + 4 * i + int(offset)) for i, offset in enumerate(offsets)]
