"""What a run leaves behind: a page, its result as JSON, JUnit XML; each file whole or not there."""

import errno
import json
import os
from contextlib import ExitStack
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
    make_folder(folder)
    files = {folder / PAGE: page(found, gallery), folder / RESULT: json.dumps(found, indent=1) + "\n"}
    write_whole(files, disk_full=disk_full)


def make_folder(folder: Path) -> None:
    """The report's folder, where it is not there yet. InputError: it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder}: cannot be made ({error.strerror}); wanted a folder for the report") from None


def write_whole(files: dict[Path, str], *, disk_full: bool = False) -> None:
    """Write the files, each whole, or none of them. InputError: one cannot be written. disk_full: as of `write_report`."""
    path, size, written = Path(), 0, 0
    try:
        with ExitStack() as whole:  # each takes its name after the last was written
            for path, text in files.items():
                data = text.encode(errors="replace")  # a name of a file need not be UTF-8
                size = len(data)
                with whole.enter_context(whole_file(path)).open("wb") as file:
                    for at in range(0, size, _PIECE):
                        if disk_full and written >= _FULL_BYTES:
                            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                        written += file.write(data[at : at + _PIECE])
                    file.flush()
                    os.fsync(file.fileno())
    except OSError as error:
        wanted = f"a disk with {size:,} bytes to spare"
        raise InputError(f"{path}: cannot be written ({error.strerror}); wanted {wanted}") from None
