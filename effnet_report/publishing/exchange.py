"""Put a folder in the place of another one, so that a kill at any moment loses neither.

The new folder is written to the disk first. Then one system call exchanges the two names. Where
the system has no such call, the old folder is renamed aside first: if a process ends between the
two renames, `recover` puts it back.
"""

import ctypes
import errno
import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from effnet_core import files
from effnet_core.errors import InputError

# Of Linux: <fcntl.h> and <linux/fs.h>.
AT_FDCWD, RENAME_EXCHANGE = -100, 2


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes from exchanging folders inside this one.

    Raises:
        InputError: another process does so now.
        OSError: the folder cannot be made or read.
    """
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InputError(f"Another process writes to {folder}. Wait until it has ended.") from None
    finally:
        os.close(descriptor)


def recover(staged: Path, there: Path) -> None:
    """Undo what a process that was killed had begun: `there` is whole, and `staged` is gone."""
    before = _before(staged)
    if before.is_dir() and not there.exists():
        before.rename(there)
        files.flush(there.parent)
    for leftover in (before, staged):
        if leftover.is_dir():
            shutil.rmtree(leftover)


def exchange(staged: Path, there: Path) -> None:
    """Give a folder its place; what was there before, if anything, is at `staged` or gone.

    Raises:
        OSError: it cannot be renamed; what was there is as it was.
    """
    for path in (staged, *staged.rglob("*")):
        if not path.is_symlink():
            files.flush(path)
    there.parent.mkdir(parents=True, exist_ok=True)
    if not there.exists():
        staged.rename(there)
    elif not _exchanged(staged, there):
        before = _before(staged)
        there.rename(before)
        try:
            staged.rename(there)
        except OSError:
            before.rename(there)
            raise
    files.flush(there.parent)


def _exchanged(one: Path, other: Path) -> bool:
    """Whether the system could exchange two names in one call."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(AT_FDCWD, bytes(one), AT_FDCWD, bytes(other), RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in (errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP):
        return False
    raise OSError(code, os.strerror(code), str(other))


def _before(staged: Path) -> Path:
    return staged.with_name(f".{staged.name}")  # no study begins with a dot
