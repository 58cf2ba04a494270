"""Checkpoints: everything that the next epoch depends on, in one file.

A checkpoint is a file of PyTorch after a checksum. It is read with `weights_only`, so it cannot
run code, and it is used only if its checksum and its origin are right.
"""

import hashlib
import io
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch

from effnet_core import files
from effnet_core.errors import InputError
from effnet_core.study.provenance import Clock
from effnet_core.training.state import TrainingState

# Seconds of training between checkpoints. A kill loses at most this time plus one epoch.
WORTH_SAVING = 10.0


@dataclass
class Checkpoint:
    """The checkpoint file of a run, and the origin that a checkpoint must match.

    Attributes:
        origin: settings, fingerprints, versions and processor: everything that decides the
            outcome.
        clock: clock of the run; resuming adds the earlier training time to it.
        first: checkpoint after the race and the first epoch, which no schedule has changed yet.
            Runs that differ only in their schedule share it. None if there are no such runs.
        saved: seconds of training that are saved.
    """

    path: Path
    origin: Mapping[str, Any]
    clock: Clock
    first: Path | None = None
    saved: float = 0.0

    def save(self, state: TrainingState) -> None:
        """Replace the checkpoint. On a full disk, print a line and go on training."""
        spent = self.clock.spent("train")
        shared = None if state.scheduled else self.first
        begun = bool(shared and state.history and state.race.decided)
        if not begun and spent[0] - self.saved < WORTH_SAVING:
            return
        path = shared or self.path
        clock = {"spent": spent.tolist(), "started": self.clock.started.isoformat()}
        content = {"origin": self._origin(path), **clock, **state.content()}
        buffer = io.BytesIO()
        torch.save(content, buffer)
        data = buffer.getbuffer()
        try:
            with files.replaced(path) as partial, partial.open("wb") as file:
                file.write(hashlib.sha256(data).digest())
                file.write(data)
        except InputError as error:
            print(f"No checkpoint of this epoch, training goes on. {error}", flush=True)
        self.saved = float(spent[0])

    def resume(self, state: TrainingState) -> bool:
        """Restore `state` from the checkpoint, if there is a valid one.

        Returns:
            Whether the state was restored.
        """
        for path in filter(None, (self.path, self.first)):
            for leftover in path.parent.glob(f".{path.name}.*"):  # left by a killed process
                with suppress(OSError):
                    leftover.unlink()
            try:
                content = self._read(path)
            except FileNotFoundError:
                continue
            except (OSError, ValueError, UnpicklingError) as error:
                print(
                    f"{path.name} is not used, training starts anew: {error}",
                    flush=True,
                )
                continue
            state.restore(content)
            self.clock.resume("train", np.array(content["spent"]), content["started"])
            self.saved = content["spent"][0]
            whose = "the first epoch of all schedules" if path == self.first else "a checkpoint"
            print(f"Resumed after {_reached(state)}, from {whose}.", flush=True)
            return True
        return False

    def _origin(self, path: Path) -> dict[str, Any]:
        """The origin of a file; no schedule has changed what the runs of all schedules share."""
        ignored = {"scheduler"} if path == self.first else set()
        decides = {name: value for name, value in self.origin.items() if name not in ignored}
        return decides | {"name": path.name}

    def _read(self, path: Path) -> dict[str, Any]:
        """Read and check a checkpoint file.

        Raises:
            ValueError: the file is damaged, or belongs to a run with another origin.
            OSError, UnpicklingError: the file is not a checkpoint.
        """
        with path.open("rb") as file:
            checksum, data = file.read(hashlib.sha256().digest_size), file.read()
        if hashlib.sha256(data).digest() != checksum:
            raise ValueError("it is damaged.")
        content = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        now = self._origin(path)
        different = [name for name in now if content["origin"].get(name) != now[name]]
        if different:
            raise ValueError(f"it was made with other {', '.join(different)}.")
        return content


def _reached(state: TrainingState) -> str:
    """The progress of training, in words."""
    epoch, heat = f"epoch {len(state.history)}", len(state.race.heats) + 1
    if state.race.decided:
        return epoch
    rate, heats = state.schedule.rate, len(state.settings.rates)
    return f"{epoch} of learning rate {rate:g} ({heat} of {heats} in the race)"
