"""Replace a folder by another one, without losing either if the process is killed.

The new folder is flushed to the disk first. Then one system call exchanges the two names. On
systems without this call the old folder is renamed first; if the process ends between the two
renames, `recover` restores it.
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

# Constants of Linux, from <fcntl.h> and <linux/fs.h>.
AT_FDCWD, RENAME_EXCHANGE = -100, 2


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Prevent other processes from exchanging folders inside this one.

    Raises:
        InputError: another process is exchanging folders now.
        OSError: the folder cannot be created or read.
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


def check_replaceable(*places: Path) -> None:
    """Make sure that an exchange would replace folders, or nothing.

    Raises:
        InputError: a link or a file has one of these names.
    """
    for path in places:
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise InputError(
                f"{path} is a link or a file, and would be replaced by a folder. Move it away, and "
                "try again."
            )


def recover(staged: Path, there: Path) -> None:
    """Undo an unfinished exchange of a killed process: restore `there` and delete `staged`."""
    before = _before(staged)
    if before.is_dir() and not there.exists():
        before.rename(there)
        files.flush(there.parent)
    for leftover in (before, staged):
        if leftover.is_symlink() or leftover.is_file():
            leftover.unlink()
        elif leftover.is_dir():
            shutil.rmtree(leftover)


def exchange(staged: Path, there: Path) -> None:
    """Move `staged` to `there`; a previous folder ends at `staged` or is deleted.

    Raises:
        OSError: the folder cannot be renamed; the previous folder is unchanged.
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
    """Exchange two names in one system call, and say whether that worked."""
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
    return staged.with_name(f".{staged.name}")  # no name of a study starts with a dot
