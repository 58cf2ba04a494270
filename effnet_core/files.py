"""Crash-safe writes: readers see the old file or the new one, after a power cut too."""

import importlib.util
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from effnet_core.errors import InputError, cannot

ROOM = 2**18  # bytes that a folder must have room for before work for it begins


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """A temporary name to write to, which becomes `path` when the block ends well.

    Contents are on the disk before the name is, and the name is before this returns.

    Raises:
        InputError: the folder cannot be written, or the disk is full; `path` is as it was.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield partial
            partial.chmod(0o666 & ~_umask())  # some libraries write for the owner only
            flush(partial)
            partial.replace(path)
            flush(path.parent)
        finally:
            partial.unlink(missing_ok=True)
    except OSError as error:
        raise cannot(f"write {path}", error) from None


def write(path: Path, data: bytes) -> None:
    """Write a file whole or not at all; errors as in `replaced`."""
    with replaced(path) as partial:
        partial.write_bytes(data)


def check_writable(folder: Path) -> None:
    """Make sure, before work begins whose result belongs there, that a folder takes files.

    Raises:
        InputError: it cannot be made or written, or the disk is full.
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


def _umask() -> int:
    """What new files are not open to; the system tells it only when it is set."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def package_folder(module: str, distribution: str) -> Path:
    """Where an installed data package lies; it is not imported."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise InputError(
            f"Package {distribution} is missing. Install it: pip install {distribution}"
        )
    return Path(spec.origin).parent
