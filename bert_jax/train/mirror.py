"""A copy of a run folder at an address, from which a machine with an empty disk goes on.

There are the run's small files, which are written again as they change, and copies of folders: checkpoints and the
finished model. The list of a folder's files with their checksums, `NAME.files.json`, is written last and removed first:
a folder without a list does not count, and one that differs from its list is not used.
"""

import json
import threading
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple

from bert_jax.errors import InputError
from bert_jax.files import parse_json, require_same, write_folder, write_whole, writing
from bert_jax.remote import Damaged, Entry, Remote, RemoteError, read_entries

LIST = ".files.json"
"""Suffix of the list of a folder's files."""
_LOOK = 1.0
"""Seconds between two looks for something new in the run folder."""
_SMALL_EVERY = 60.0
"""Seconds between two copies of the small files, unless a folder is copied."""
_LONGEST_PAUSE = 60.0
"""Seconds between two attempts after many failures."""
_LAST_PAUSES = (0.0, 1.0, 2.0, 4.0, 8.0)
"""Seconds before each attempt at the end of a run."""


class Contents(NamedTuple):
    """Names in a run folder. small: files, of which the first has the settings. checkpoints: a folder of folders that
    are named by their steps. model: the folder that appears at the end."""

    small: tuple[str, ...]
    checkpoints: str
    model: str


class Mirror:
    """The copy of one run folder; as a context, it ends once the copy is complete.

    Args:
        folder: the run folder.
        address: where the copy is.
        contents: what is copied.
        keep_last: number of the newest checkpoints to keep there.
        keep_every: checkpoints there whose step is a multiple of this are kept forever; 0 for none.
        report: called with a line about an attempt that failed, from another thread.

    Raises:
        InputError: see `Remote`; on leaving the context, the copy is not complete.
    """

    def __init__(
        self,
        folder: Path,
        address: str,
        contents: Contents,
        keep_last: int,
        keep_every: int,
        report: Callable[[str], None],
    ) -> None:
        self._folder, self._address, self._contents = folder, address, contents
        self._remote, self._report = Remote(address, "--mirror"), report
        self._keep_last, self._keep_every = keep_last, keep_every
        self._there: set[str] = set()
        self._small: dict[str, tuple[int, int]] = {}
        self._small_at = -_SMALL_EVERY
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="mirror", daemon=True)

    def bring(self) -> None:
        """Bring a model or a checkpoint that the run folder lacks, and then the small files as well.

        Raises:
            InputError: the copy is of a run with other settings, or cannot be read; or the folder cannot be written.
        """
        settings = self._contents.small[0]
        found = self._remote.read(settings)
        if found is not None:
            own = parse_json((self._folder / settings).read_bytes(), settings)
            require_same(self._address, "run", parse_json(found, f"{self._address}/{settings}"), own, "--mirror")
        names = self._remote.names()
        self._there = {name.removesuffix(LIST) for name in names if name.endswith(LIST)}
        parts = {tuple(name.split("/")[:2]) for name in names if name.startswith(f"{self._contents.checkpoints}/")}
        for name in sorted(map("/".join, parts)):
            if name.removesuffix(LIST) not in self._there:
                self._remote.remove(name)  # a copy that was interrupted
        if self._contents.model not in self._there or not self._bring(self._contents.model):
            self._bring_newest_checkpoint()
        self._send_small()  # an address that takes nothing is better known now than at the first checkpoint

    def _bring_newest_checkpoint(self) -> None:
        here = max(self._steps_here(), default=0)
        newer = sorted((step for step in self._steps_there() if step > here), reverse=True)
        if newer and not any(self._bring(self._checkpoint(step)) for step in newer) and not here:
            raise InputError(f"none of the checkpoints in {self._address} can be used; use another --mirror")

    def _bring(self, name: str) -> bool:
        """Bring the small files, then a folder, unless it is here; warn and return False if it is damaged."""

        def fill(folder: Path) -> None:
            for row in rows:
                self._remote.bring(Entry(f"{name}/{row.file}", row.bytes, row.sha256), folder / row.file)

        if (self._folder / name).exists():
            return True
        try:
            rows = self._read_list(name)
            for small in self._contents.small[1:]:
                if (content := self._remote.read(small)) is not None:
                    with writing(self._folder):
                        write_whole(self._folder / small, partial(_write, content))
            write_folder(self._folder / name, fill)
        except Damaged as error:
            warnings.warn(f"{name} cannot be used: {error}", stacklevel=3)
            self._there.discard(name)
            return False
        return True

    def _read_list(self, name: str) -> list[Entry]:
        where = f"{self._address}/{name}{LIST}"
        try:
            rows = json.loads(self._remote.read(name + LIST) or b"")
        except ValueError as error:
            raise Damaged(f"{where} is not a list of files ({error})") from None
        return read_entries(rows, where)

    def start(self) -> None:
        """Begin to copy in the background."""
        self._thread.start()

    def _work(self) -> None:
        pause = _LOOK
        while not self._ending.wait(pause):
            failure = self._attempt(ends=False)
            pause = _LOOK if failure is None else min(2 * pause, _LONGEST_PAUSE)
            if failure is not None:
                self._report(f"{failure}; the run goes on, and this is tried again in {pause:.0f} s")

    def _attempt(self, ends: bool) -> Exception | None:
        """Copy whatever is new. Returns the error, if there was one."""
        try:
            self._copy(ends)
        except Exception as error:  # an error of any kind must not end the thread unseen
            return error
        return None

    def _copy(self, ends: bool) -> None:
        steps = sorted(self._steps_here())
        due = {step for step in steps if self._keep_every and step % self._keep_every == 0} | set(steps[-1:])
        names = [self._checkpoint(step) for step in sorted(due, reverse=True)]
        if (self._folder / self._contents.model).is_dir():
            names.append(self._contents.model)
        new = [name for name in names if name not in self._there]
        if new or ends or time.monotonic() - self._small_at > _SMALL_EVERY:
            self._send_small()
        for name in new:
            self._send(name)
        for step in self._steps_there() - self._kept():
            self._remove(self._checkpoint(step))

    def _send_small(self) -> None:
        for name in self._contents.small:
            path = self._folder / name
            if path.exists() and (state := (path.stat().st_mtime_ns, path.stat().st_size)) != self._small.get(name):
                self._remote.write(name, path.read_bytes())
                self._small[name] = state
        self._small_at = time.monotonic()

    def _send(self, name: str) -> None:
        self._remove(name)  # what an attempt that failed has left
        folder = self._folder / name
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        if self._is_going(name):
            return
        rows = []
        for path in paths:
            place = path.relative_to(folder).as_posix()
            try:
                rows.append(self._remote.send(f"{name}/{place}", path)._replace(file=place))
            except (FileNotFoundError, RemoteError):
                if path.exists():
                    raise
                self._remove(name)
                return
        self._remote.write(name + LIST, json.dumps([row._asdict() for row in rows]).encode())
        self._there.add(name)

    def _is_going(self, name: str) -> bool:
        """True if the run may have begun to remove a checkpoint, which it does once there are enough newer ones."""
        if name == self._contents.model:
            return False
        step, steps = int(name.rpartition("/")[2]), self._steps_here()
        forever = self._keep_every and step % self._keep_every == 0
        return not forever and sum(other > step for other in steps) >= self._keep_last

    def _remove(self, name: str) -> None:
        self._there.discard(name)
        self._remote.remove(name + LIST)
        self._remote.remove(name)

    def _kept(self) -> set[int]:
        steps = self._steps_there()
        every = {step for step in steps if self._keep_every and step % self._keep_every == 0}
        return every | set(sorted(steps)[-self._keep_last :])

    def _checkpoint(self, step: int) -> str:
        return f"{self._contents.checkpoints}/{step}"

    def _steps_here(self) -> set[int]:
        return {
            int(path.name) for path in (self._folder / self._contents.checkpoints).glob("*") if path.name.isdecimal()
        }

    def _steps_there(self) -> set[int]:
        prefix = self._checkpoint(0)[:-1]
        return {int(name.removeprefix(prefix)) for name in self._there if name.startswith(prefix)}

    def __enter__(self) -> "Mirror":
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, where: TracebackType | None) -> None:
        self._ending.set()
        if self._thread.is_alive():
            self._thread.join()
        failure: Exception | None = None
        for pause in _LAST_PAUSES:
            time.sleep(pause)
            failure = self._attempt(ends=True)
            if failure is None:
                return
        text = f"the copy is behind: {failure}. Everything is whole in {self._folder}; the same command copies it"
        if error is None:
            raise InputError(text)
        self._report(text)


def _write(content: bytes, file: BinaryIO) -> None:
    file.write(content)
