"""Files kept on disk between runs: decoded images, activations, first epochs, trained weights.

The cache never changes a result. All of it can be deleted at any time and is computed again when
needed. A process that maps or writes an array holds a shared lock on the file as long as the
mapping exists, and a file is deleted only under an exclusive lock, so files in use stay.
"""

import fcntl
import hashlib
import os
import secrets
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from effnet_core import paths

KINDS = {"images": "*.npy", "prefix": "*.npy", "epochs": "*/*.pt", "weights": "*/*.safetensors"}
# Share of the disk space that is free or already used by the cache; `cache_gb` overrides it.
SHARE_OF_DISK = 0.25


@dataclass(frozen=True)
class Entry:
    """One file of the cache.

    Attributes:
        kind: `images`, `prefix`, `epochs` or `weights`.
        used: the time when a run last opened it.
    """

    path: Path
    kind: str
    size: int
    used: datetime


def keyed(kind: str, name: str, *decides: object) -> Path:
    """Path of a cache file, keyed by a hash of all inputs."""
    key = hashlib.sha256("\0".join(str(part) for part in decides).encode()).hexdigest()[:16]
    return paths.CACHE / kind / f"{name}-{key}.npy"


def checksums_path(array: Path) -> Path:
    """Path of the file that holds a checksum for each row of an array."""
    return array.with_suffix(".crc")


def checksum(row: np.ndarray) -> int:
    """CRC-32 of a row; never 0, because 0 marks a row that was not written yet."""
    return zlib.crc32(np.ascontiguousarray(row).data) or 1


def open_array(path: Path, mode: Literal["r", "r+"] = "r") -> np.memmap:
    """Map an array file; the file counts as in use as long as the mapping exists.

    Raises:
        OSError, ValueError: the file is missing or incomplete.
    """
    with path.open("rb" if mode == "r" else "r+b") as file:
        _use(file)
        np.lib.format.read_magic(file)
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        return np.memmap(file, dtype, mode, offset=file.tell(), shape=shape)


@contextmanager
def new_array(
    path: Path, dtype: type, shape: tuple[int, ...], *, sparse: bool = False
) -> Iterator[np.memmap]:
    """Yield a new array of zeros; it gets its final name when the block ends without an error.

    Disk space is allocated first, because writing to a mapped file on a full disk would kill the
    process (SIGBUS). Each call writes to its own temporary file, so two processes that create the
    same array do not disturb each other.

    Args:
        sparse: allocate no space yet; call `reserve` for each row before writing it.

    Raises:
        OSError: the disk is full, the folder cannot be written, or the file was deleted.
    """
    for leftover in path.parent.glob(f"{path.name}.*.partial"):  # of a killed process
        with suppress(OSError):
            delete_unused(leftover)
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    try:
        with partial.open("x+b") as file:
            _use(file)
            header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            array = np.memmap(file, dtype, "r+", offset=file.tell(), shape=shape)
            if not sparse:
                os.posix_fallocate(file.fileno(), 0, partial.stat().st_size)
        yield array
        array.flush()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def _use(file: BinaryIO) -> None:
    """Mark a file as in use; a mapping keeps the descriptor open and so keeps the lock."""
    with suppress(OSError):  # no locks on this file system; deleting a mapped file does no harm
        fcntl.flock(file, fcntl.LOCK_SH)


def delete_unused(path: Path) -> bool:
    """Delete a file unless a process uses it.

    Returns:
        Whether the file is gone.

    Raises:
        OSError: the file cannot be deleted.
    """
    with suppress(FileNotFoundError), path.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:  # no locks on this file system
            pass
        path.unlink()
    return True


def reserve(path: Path, array: np.ndarray, indices: np.ndarray) -> None:
    """Allocate disk space for some rows of a sparse array file.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    header, row = path.stat().st_size - array.nbytes, array.strides[0]
    with path.open("r+b") as file:
        for index in indices:
            os.posix_fallocate(file.fileno(), header + int(index) * row, row)


def entries() -> list[Entry]:
    """List all cache files, the least recently used first."""
    files = []
    for kind, names in KINDS.items():
        for path in (paths.CACHE / kind).glob(names):
            with suppress(FileNotFoundError):  # deleted meanwhile
                status = path.stat()
                used = datetime.fromtimestamp(status.st_mtime, UTC)
                files.append(Entry(path, kind, status.st_blocks * 512, used))
    return sorted(files, key=lambda entry: entry.used)


def make_room(wanted: Path, size: int, budget_gb: float | None) -> bool:
    """Make room for a file of activations, and say whether it fits the budget.

    The least recently used activations are deleted first. With a budget of 0 the cache is not
    used at all, not even for reading.
    """
    if budget_gb == 0:
        return False
    if wanted.is_file():
        with suppress(OSError):  # a read-only cache is still useful
            wanted.touch()  # sets the time of last use
        size -= wanted.stat().st_blocks * 512  # further views of the images may need more
        if size <= 0:
            return True
    activations = [entry for entry in entries() if entry.kind == "prefix"]
    taken = sum(entry.size for entry in activations)
    budget = 1e9 * budget_gb if budget_gb is not None else SHARE_OF_DISK * (_free() + taken)
    if size > budget:
        return False
    for entry in activations:
        if taken + size <= budget:
            break
        if entry.path == wanted:
            continue
        with suppress(OSError):  # owned by another user
            taken -= entry.size if delete_unused(entry.path) else 0
    return taken + size <= budget


def _free() -> int:
    existing = next(folder for folder in (paths.CACHE, *paths.CACHE.parents) if folder.is_dir())
    return shutil.disk_usage(existing).free
