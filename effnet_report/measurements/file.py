"""What the files of all benchmarks have in common."""

import statistics
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Self

from pydantic import BaseModel

from effnet_core import files, paths
from effnet_core.errors import InputError


class Measured(BaseModel):
    """Median, lowest and highest value of repeated measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Measured | None":
        """Summarise single measurements; None without any."""
        seen = list(values)
        if not seen:
            return None
        return cls(median=statistics.median(seen), low=min(seen), high=max(seen))


class File(BaseModel):
    """The content of a benchmark's file in `results/`.

    Attributes:
        file: its name.
    """

    file: ClassVar[str]

    @classmethod
    def path(cls) -> Path:
        return paths.RESULTS / cls.file

    @classmethod
    def load(cls) -> Self | None:
        """Read the file; None if it does not exist.

        Raises:
            InputError: it is damaged.
        """
        path = cls.path()
        try:
            return cls.model_validate_json(path.read_bytes()) if path.is_file() else None
        except ValueError:
            raise InputError(
                f"{path} is damaged. Restore it from git, or delete it and measure again."
            ) from None

    def save(self) -> None:
        """Write the file crash-safe."""
        files.write(self.path(), (self.model_dump_json(indent=1) + "\n").encode())
