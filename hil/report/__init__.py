"""What a run leaves behind: a page, its result as JSON, JUnit XML; each file whole or not there."""

import errno
import json
import os
from pathlib import Path
from typing import Any

from farfield import InputError
from farfield.cli.shared import whole_file
from farfield.hil.report.page import Gallery, page

RESULT, PAGE = "result.json", "report.html"
_FULL_BYTES = 4_096  # that a disk takes before it is full, where that was asked for
_PIECE = 1_024


def write_report(folder: Path, found: dict[str, Any], gallery: Gallery, *, disk_full: bool = False) -> None:
    """report.html and result.json in the folder. disk_full: as on a disk that has room for the first 4 kB alone.

    InputError, one line: what could not be written, and why; an earlier report is then still there, whole.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); wanted a folder for the report") from None
    write_whole(folder / PAGE, page(found, gallery), disk_full=disk_full)
    write_whole(folder / RESULT, json.dumps(found, indent=1) + "\n", disk_full=disk_full)


def write_whole(path: Path, text: str, *, disk_full: bool = False) -> None:
    """Write the file, whole or not at all. InputError: it cannot be written."""
    data = text.encode()
    try:
        with whole_file(path) as made, made.open("wb") as file:
            for at in range(0, len(data), _PIECE):
                if disk_full and at >= _FULL_BYTES:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                file.write(data[at : at + _PIECE])
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        wanted = f"a disk with {len(data):,} bytes to spare"
        raise InputError(f"{path}: cannot be written ({error.strerror}); wanted {wanted}") from None
