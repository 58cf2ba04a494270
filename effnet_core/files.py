"""Crash-safe writes: readers see the old file or the new one, after a power cut too."""

import errno
import importlib.util
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from effnet_core.errors import InputError, cannot

ROOM = 2**18  # bytes that must be free in a folder before work for it begins
# The permission bits that new files lack. The system tells them only when they are set, which has
# to happen before threads write files.
UMASK = os.umask(0o022)
os.umask(UMASK)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield a temporary path; rename it to `path` when the block ends without an error.

    The contents are flushed to the disk before the rename, and the rename before this returns.

    Raises:
        InputError: the folder cannot be written, or the disk is full; `path` is unchanged.
    """
    with _whole(path, Path.replace) as partial:
        yield partial


def create(path: Path, data: bytes) -> None:
    """Write a new file, whole or not at all.

    Raises:
        InputError: the folder cannot be written, the disk is full, or the file exists by now; an
            existing file is unchanged.
    """
    with _whole(path, os.link) as partial:  # unlike a rename, a link replaces nothing
        partial.write_bytes(data)


@contextmanager
def _whole(path: Path, give_name: Callable[[Path, Path], object]) -> Iterator[Path]:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.chmod(0o666 & ~UMASK)  # some libraries write for the owner only
            flush(partial)
            give_name(partial, path)
            flush(path.parent)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise cannot(f"write {path}", error) from None


def write(path: Path, data: bytes) -> None:
    """Write a whole file or nothing; raises as `replaced` does."""
    with replaced(path) as partial:
        partial.write_bytes(data)


def copy(source: Path, path: Path) -> None:
    """Write a whole copy of a file, on any disk, or nothing; raises as `replaced` does."""
    with replaced(path) as partial:
        shutil.copyfile(source, partial)


def read(path: Path) -> bytes:
    """The contents of a file, but not of a pipe, which may never end.

    Raises:
        OSError: the file is missing, is not a regular file, or cannot be read.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a file", str(path))
    return path.read_bytes()


def state(path: Path) -> tuple[int, ...] | None:
    """Inode, size and times of a file, which differ after any change; None if it is missing."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def set_aside(path: Path, data: bytes) -> Path | None:
    """Rename an existing file unless it holds these data; a person may have edited it.

    Returns:
        The new path, such as `labels.1.csv`; None if there was nothing to rename.
    """
    if not path.is_file() or path.read_bytes() == data:
        return None
    names = (path.with_name(f"{path.stem}.{number}{path.suffix}") for number in count(1))
    return path.rename(next(name for name in names if not os.path.lexists(name)))


def check_writable(folder: Path) -> None:
    """Make sure that a folder can be written, before starting work whose result goes there.

    Raises:
        InputError: the folder cannot be created or written, or the disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, ROOM)
    except OSError as error:
        raise cannot(f"write in {folder}", error) from None


def flush(path: Path) -> None:
    """Wait until a file's contents, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def package_folder(module: str, distribution: str) -> Path:
    """Folder of an installed data package, found without importing it."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise InputError(
            f"Package {distribution} is missing. Install it: pip install {distribution}"
        )
    return Path(spec.origin).parent
