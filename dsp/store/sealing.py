"""One utterance on its way into the store: written sealed, under a name that says it is unfinished, and recorded when it ends.

The order is: sound, sealed, into ID.partial, which this process locks; flushed; then, in one change of the records, ID.partial
becomes ID.sealed, the record is made, and the change is committed. Whoever dies before that leaves a file without a record, which
`recover` destroys; a record without its file cannot come about.

Whoever listens seals; all that touches the disk is done by the store's writer, one thing after the other, on a thread of its own.
What waits for it there is sealed already.
"""

import fcntl
import os
from collections.abc import Callable
from concurrent.futures import Future
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
    from farfield.store.opened import Opened


class _Unfinished:
    """A file that has no record yet; it is there from `make` on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: FileIO | None = None

    def make(self) -> None:
        """To be called alone in the store: until it is locked, any other process would take it for a dead one's."""
        self._file = FileIO(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def write(self, data: bytes) -> None:
        write_whole(self._open)(memoryview(data))

    def flush(self) -> None:
        os.fsync(self._open.fileno())

    def become(self, path: Path) -> None:
        os.rename(self.path, path)
        sync_folder(path.parent)
        self.path = path

    def remove(self) -> None:
        self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    @property
    def _open(self) -> FileIO:
        assert self._file is not None
        return self._file


class FileSealing:
    """Seals one utterance into a store. InputError where memory for it may not be locked.

    began: when. consented: to what, then (`consent.all_given`).

    It is ended by `finish` or by `abort`; whatever follows does nothing, and so does everything after the disk has failed: then
    the file is removed, the key is destroyed by the next call, and `why_not`, as the store's, says why.
    """

    def __init__(self, store: "Opened", opening: Opening, began: Moment, consented: dict[str, int]) -> None:
        self._store, self._opening, self._began, self._consented = store, opening, began, consented
        self._id = names.fresh()
        self._unfinished = _Unfinished(store.folder / "sealed" / f"{self._id}.partial")
        self.why_not: str | None = None
        self._gaps: list[list[int]] = []  # where samples are missing: how many were sealed before, and how many are
        self._failed: BaseException | None = None
        self._live = True
        self._do(self._make)
        try:
            self._sealer = Sealer(lambda sealed: self._write(bytes(sealed)))
        except InputError:
            self._do(self._unfinished.remove).result()
            raise

    def write(self, samples: NDArray[np.int16]) -> None:
        """Seal what follows, int16 (samples,) at 16 kHz; TypeError where it is something else."""
        if self._failed is not None:
            self._end()
        elif self._live:
            try:
                self._sealer.sound(samples)
            except BaseException:
                self.abort()
                raise

    def lost(self, samples: int) -> None:
        """So many are missing here; it is told beside the sound, in which nothing stands for them."""
        if self._gaps and self._gaps[-1][0] == self._sealer.samples:
            self._gaps[-1][1] += samples
        else:
            self._gaps.append([self._sealer.samples, samples])

    def finish(self, end: int) -> Future[str]:
        """End before sample `end` of the capture clock; the result is the utterance's id, or "" where it was not kept.

        It is not where consent was withdrawn since it began, even if it was given again, or where the disk failed. Decides
        whether reviewers get a wrap, for which that consent must have held as long. Nothing plain is left when this returns, and
        the key is gone when the result is there.
        """
        if not self._live or self._failed is not None:
            self._end()
            return self._store.writer.submit(self._not_kept)
        self._live = False
        opening, sealer = self._opening, self._sealer
        word = {name: self._place(index) for name, index in (("word_start", opening.word_start), ("word_end", opening.word_end))}
        told = {"word": opening.word, "score": round(opening.score, 4), "samples": sealer.samples, **word, "gaps": self._gaps}
        digest = sealer.finish(told)
        return self._store.writer.submit(self._kept, end, digest)

    def _place(self, index: int) -> int:
        """Where in the sealed sound a sample of the capture clock lies; where it is missing, the next that is there."""
        place = index - self._opening.start
        for at, missing in self._gaps:
            if place > at:
                place = max(at, place - missing)
        return place

    def abort(self) -> None:
        """Destroy key and file: nothing stays. Waits for the disk."""
        if self._live:
            self._end()
            self._do(self._unfinished.remove).result()

    def _end(self) -> None:
        if self._live:
            self._live = False
            self._sealer.destroy()

    # What follows is done by the writer.

    def _do(self, step: Callable[[], None]) -> Future[bool]:
        return self._store.writer.submit(self._guarded, step)

    def _write(self, sealed: bytes) -> None:
        self._do(lambda: self._unfinished.write(sealed))

    def _guarded(self, step: Callable[[], None]) -> bool:
        """Whether the step succeeded, and those before it; what prevented it ends the sealing and is told by `why_not`."""
        if self._failed is not None:
            return False
        try:
            step()
            return True
        except BaseException as error:
            self._fail(error)
            try:
                self._unfinished.remove()
            except OSError as again:  # it stays as it is, without a key: `recover` will try again
                self._fail(again)
            if isinstance(error, (OSError, InputError)):
                return False
            raise

    def _fail(self, error: BaseException) -> None:
        self._failed = error
        self._store.failed(error)
        self.why_not = self._store.why_not

    def _make(self) -> None:
        with self._store.alone():
            self._unfinished.make()

    def _kept(self, end: int, digest: bytes) -> str:
        try:
            return self._id if self._guarded(lambda: self._record(end, digest)) else ""
        finally:
            self._sealer.destroy()

    def _not_kept(self) -> str:
        if self._failed is not None and not isinstance(self._failed, (OSError, InputError)):
            raise self._failed
        return ""

    def _record(self, end: int, digest: bytes) -> None:
        self._unfinished.flush()
        opening, sealer, store = self._opening, self._sealer, self._store
        with store.keeping() as change:
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
        self._unfinished.close()


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
