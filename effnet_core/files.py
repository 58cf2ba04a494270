"""Crash-safe writes: readers see the old file or the new one, after a power cut too."""

import importlib.util
import os
import resource
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from effnet_core.errors import InputError, cannot

OPEN_FILES, OPEN_FILES_OF_A_RUN = 4096, 256
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


def check_open_files() -> None:
    """Make sure that a run can open what it needs: sockets, libraries, arrays.

    Raises:
        InputError: this system lets a process open too few.
    """
    allowed = allow_open_files()
    if allowed < OPEN_FILES_OF_A_RUN:
        raise InputError(
            f"A process may open {allowed} files here, and a run opens up to "
            f"{OPEN_FILES_OF_A_RUN}. Allow more: `ulimit -n {OPEN_FILES}`."
        )


def allow_open_files() -> int:
    """Let this process and those that it starts open many files, as far as the system allows.

    Returns:
        How many.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return OPEN_FILES if soft == resource.RLIM_INFINITY else soft


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
