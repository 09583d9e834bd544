"""One utterance on its way into the store: written sealed, under a name that says it is unfinished, and recorded when it ends.

The order is: sound, sealed, into ID.partial, which this process locks; flushed; then, in one change of the records, ID.partial
becomes ID.sealed, the record is made, and the change is committed. Whoever dies before that leaves a file without a record, which
`recover` destroys; a record without its file cannot come about.
"""

import fcntl
import os
from collections.abc import Callable
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from farfield.capture.keeper import Opening
from farfield.errors import InputError
from farfield.store import consent, names, sampling, utterance
from farfield.store.ageing import Moment
from farfield.store.keys import sync_folder
from farfield.store.records import Change
from farfield.store.sealed import Sealer, write_whole
from farfield.store.utterance import Utterance, destroy, sealed_path

if TYPE_CHECKING:
    from farfield.store.store import Store


@dataclass(slots=True)
class _Unfinished:
    """A file that has no record yet."""

    path: Path
    file: FileIO

    @classmethod
    def make(cls, path: Path) -> "_Unfinished":
        file = FileIO(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
        fcntl.flock(file, fcntl.LOCK_EX)  # so that no other process takes it for a dead one's
        return cls(path, file)

    def become(self, path: Path) -> None:
        os.rename(self.path, path)
        sync_folder(path.parent)
        self.path = path

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.file.close()


class FileSealing:
    """Seals one utterance into a store, within whose change it is made. OSError, InputError where disk or memory do not take it.

    began: when. consented: to what, then (`consent.all_given`).

    It is ended by `finish` or by `abort`; whatever follows does nothing, and so does everything after the disk has failed: then
    the key is destroyed, the file removed, and the store's `why_not` says why.
    """

    def __init__(self, store: "Store", opening: Opening, began: Moment, consented: dict[str, int]) -> None:
        self._store, self._opening, self._began, self._consented = store, opening, began, consented
        self._id = names.fresh()
        self._unfinished = _Unfinished.make(store.folder / "sealed" / f"{self._id}.partial")
        self._live = True
        try:
            self._sealer = Sealer(write_whole(self._unfinished.file))
        except (OSError, InputError):
            self._unfinished.remove()
            raise

    def write(self, samples: NDArray[np.int16]) -> None:
        """Seal what follows, int16 (samples,) at 16 kHz; TypeError where it is something else."""
        if self._live:
            self._guarded(lambda: self._sealer.sound(samples))

    def finish(self, end: int) -> str:
        """End before sample `end` of the capture clock; the utterance's id, or "" where it was not kept.

        It is not where consent was withdrawn since it began, even if it was given again, or where the disk failed. Decides
        whether reviewers get a wrap, for which that consent must have held as long; the key is gone when this returns. Waits for
        the disk.
        """
        if not self._live:
            return ""
        try:
            return self._id if self._guarded(lambda: self._finish(end)) else ""
        finally:
            self._end()

    def abort(self) -> None:
        """Destroy key and file: nothing stays."""
        if self._live:
            self._end()
            self._guarded(self._unfinished.remove)

    def _guarded(self, step: Callable[[], None]) -> bool:
        """Whether the step succeeded; what the disk or the store did to prevent it ends the sealing and is told by `why_not`."""
        try:
            step()
            return True
        except BaseException as error:
            self._store.failed(error)
            self._end()
            try:
                self._unfinished.remove()
            except OSError as again:  # it stays as it is, without a key: `recover` will try again
                self._store.failed(again)
            if isinstance(error, (OSError, InputError)):
                return False
            raise

    def _end(self) -> None:
        if self._live:
            self._live = False
            self._sealer.destroy()

    def _finish(self, end: int) -> None:
        opening, sealer = self._opening, self._sealer
        word = {"word_start": opening.word_start - opening.start, "word_end": opening.word_end - opening.start}
        digest = sealer.finish({"word": opening.word, "score": round(opening.score, 4), "samples": sealer.samples, **word})
        os.fsync(self._unfinished.file.fileno())
        store = self._store
        with store.change() as change:
            held = {purpose for purpose in consent.PURPOSES if consent.held(change, purpose, self._consented)}
            if "store" not in held:
                raise InputError("the consent to store was withdrawn meanwhile")
            settings = store.settings(change)
            beside = {"epoch": opening.epoch, "start": opening.start, "end": end, "direction_deg": opening.direction_deg}
            wrap = sealer.wrap("owner", digest, settings.owner, beside)
            kept = Utterance(self._id, self._began.at, self._began.age, sealer.samples, opening.word, digest, b"",
                             train="train" in held, reported=False)  # fmt: skip
            utterance.add(change, utterance.signed(kept, wrap, store.device.signing), wrap)
            if settings.reviewers is not None and "review" in held and self._began.clock_is_set:
                place = sampling.draw(change, kept.age, settings, store.chance)
                if place is not None:
                    if (before := sampling.taken_by(change, kept.age, place)) is not None:
                        utterance.drop_wraps(change, [before], "review")
                    for_review = sealer.wrap("review", digest, settings.reviewers)
                    utterance.add_wrap(change, kept.id, "review", for_review, kept.age // sampling.DAY, place)
            self._unfinished.become(sealed_path(store.folder, self._id))
        self._unfinished.file.close()


def recover(folder: Path, change: Change) -> None:
    """Undo what a process that died had begun: files without a record are destroyed, and so are records without a file."""
    recorded = set(utterance.ids(change.execute))
    present = set()
    for path in (folder / "sealed").iterdir():
        if path.suffix == ".sealed" and path.stem in recorded:
            present.add(path.stem)
        elif path.suffix == ".sealed" or (path.suffix == ".partial" and _is_dead(path)):
            destroy([path])
    for identity in sorted(recorded - present):
        utterance.erase(change, [identity], "lost")


def _is_dead(path: Path) -> bool:
    """Whether no process is writing this file any more."""
    with open(path, "rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True
