"""What is kept on disk between runs: decoded images, boundary activations, first epochs.

Nothing here decides an outcome, and all of it can be deleted at any time: it is made again.
"""

import hashlib
import os
import shutil
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from effnet_core import paths

KINDS = {"images": "*.npy", "prefix": "*.npy", "epochs": "*/*.pt"}
# Of the disk space that is free, or taken by the cache already; a setting can say otherwise.
SHARE_OF_DISK = 0.25


@dataclass(frozen=True)
class Entry:
    """One file of the cache.

    Attributes:
        kind: `images`, `prefix` or `epochs`.
        used: when a run last opened it.
    """

    path: Path
    kind: str
    size: int
    used: datetime


def place(kind: str, name: str, *decides: object) -> Path:
    """The file for something that is decided by all of `decides`: change one, another file."""
    key = hashlib.sha256("\0".join(str(part) for part in decides).encode()).hexdigest()[:16]
    return paths.CACHE / kind / f"{name}-{key}.npy"


def checksums_path(array: Path) -> Path:
    """The file beside an array that holds a checksum of each row."""
    return array.with_suffix(".crc")


def checksum(row: np.ndarray) -> int:
    """CRC-32, and never 0, which is what a new file holds."""
    return zlib.crc32(np.ascontiguousarray(row).data) or 1


@contextmanager
def new_array(
    path: Path, dtype: type, shape: tuple[int, ...], *, sparse: bool = False
) -> Iterator[np.ndarray]:
    """An array file of zeros to write to, which gets its name when the block ends well.

    Its blocks are on the disk before: writing to a mapped file that the disk has no room for
    would end the process (SIGBUS). The caller holds the lock of the file.

    Args:
        sparse: take no blocks yet; then `reserve` each row before it is written.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    partial = path.with_name(f"{path.name}.partial")
    try:
        array = np.lib.format.open_memmap(partial, mode="w+", dtype=dtype, shape=shape)
        if not sparse:
            with partial.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, partial.stat().st_size)
        yield array
        array.flush()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def reserve(path: Path, array: np.ndarray, indices: np.ndarray) -> None:
    """Give rows of a sparse array file their blocks on the disk; those of others stay holes.

    Raises:
        OSError: the disk is full, or the file cannot be written.
    """
    header, row = path.stat().st_size - array.nbytes, array.strides[0]
    with path.open("r+b") as file:
        for index in indices:
            os.posix_fallocate(file.fileno(), header + int(index) * row, row)


def entries() -> list[Entry]:
    """All files of the cache, the least recently used first."""
    found = []
    for kind, names in KINDS.items():
        for path in (paths.CACHE / kind).glob(names):
            status = path.stat()
            used = datetime.fromtimestamp(status.st_mtime, UTC)
            found.append(Entry(path, kind, status.st_blocks * 512, used))
    return sorted(found, key=lambda entry: entry.used)


def clear() -> int:
    """Delete everything; runs that have files open go on undisturbed.

    Returns:
        Bytes freed.
    """
    freed = sum(entry.size for entry in entries())
    for kind in KINDS:
        shutil.rmtree(paths.CACHE / kind, ignore_errors=True)
    return freed


def make_room(wanted: Path, size: int, budget_gb: float | None) -> bool:
    """Whether `size` bytes for a file of activations fit the budget.

    Files that were not used for the longest time are deleted to make them fit. With a budget
    of 0 nothing is used, not what is there already either.
    """
    if budget_gb == 0:
        return False
    if wanted.is_file():
        with suppress(OSError):  # a cache that can only be read is of use too
            wanted.touch()  # the time of its last use
        return True
    kept = [entry for entry in entries() if entry.kind == "prefix"]
    taken = sum(entry.size for entry in kept)
    budget = 1e9 * budget_gb if budget_gb is not None else SHARE_OF_DISK * (_free() + taken)
    if size > budget:
        return False
    for entry in kept:
        if taken + size <= budget:
            break
        entry.path.unlink(missing_ok=True)
        taken -= entry.size
    return True


def _free() -> int:
    existing = next(folder for folder in (paths.CACHE, *paths.CACHE.parents) if folder.is_dir())
    return shutil.disk_usage(existing).free
