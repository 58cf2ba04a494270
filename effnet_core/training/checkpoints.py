"""What a run that was killed goes on from: everything its next epoch depends on, one file.

Tensors are stored as safetensors, everything else as JSON in the same file's header, so that
one rename replaces all of it. Nothing in the file is code, and nothing in it is believed
before its checksum and its origin are found right.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from effnet_core import files
from effnet_core.errors import InputError
from effnet_core.model.backbones import weights_hash
from effnet_core.study.design import Settings
from effnet_core.study.provenance import Clock
from effnet_core.study.records import Epoch, checksum
from effnet_core.training.schedules import Schedule

Tensors = dict[str, torch.Tensor]


@dataclass
class TrainingState:
    """Where training is: what an epoch starts from and what it leaves.

    Attributes:
        suffix: the part of the network that trains.
        order: draws the order of the images.
        best_weights: of the suffix at the best epoch.
    """

    suffix: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    order: np.random.Generator
    history: list[Epoch] = field(default_factory=list)
    best_weights: Tensors = field(default_factory=dict)

    @property
    def best(self) -> Epoch:
        """The epoch with the highest validation accuracy, the first of equals."""
        return max(self.history, key=lambda epoch: epoch.validation.accuracy)

    def finished(self, settings: Settings) -> bool:
        """Whether all epochs are done, or none was better for as long as the patience lasts."""
        done = len(self.history)
        return done == settings.epochs or (
            done > 0 and done - self.best.epoch >= settings.early_stop_patience
        )

    def tensors(self) -> Tensors:
        """All tensors by name, the random state of PyTorch included."""
        momenta = self.optimizer.state_dict()["state"]
        device = next(self.suffix.parameters()).device
        named = {
            "suffix": self.suffix.state_dict(),
            "best": self.best_weights,
            **{f"optimizer.{index}": values for index, values in momenta.items()},
            "random": {"cpu": torch.get_rng_state()},
        }
        if device.type == "cuda":
            named["random"]["cuda"] = torch.cuda.get_rng_state(device)
        return {
            f"{group}/{name}": tensor.contiguous()
            for group, values in named.items()
            for name, tensor in values.items()
        }

    def numbers(self) -> dict[str, Any]:
        """Everything that is not a tensor, as JSON can hold it."""
        return {
            "history": [epoch.model_dump() for epoch in self.history],
            "schedule": self.schedule.scheduler.state_dict(),
            "rates": [group["lr"] for group in self.optimizer.param_groups],
            "order": self.order.bit_generator.state,
        }

    def restore(self, tensors: Tensors, numbers: Mapping[str, Any]) -> None:
        """Become the state that `tensors` and `numbers` were taken from."""
        groups: dict[str, Tensors] = {}
        for path, tensor in tensors.items():
            kind, name = path.split("/", 1)
            groups.setdefault(kind, {})[name] = tensor
        self.suffix.load_state_dict(groups["suffix"])
        self.best_weights = groups["best"]
        (parameters,) = (group["params"] for group in self.optimizer.param_groups)
        momenta = {
            index: {name: _laid_out_as(parameter, value) for name, value in moments.items()}
            for index, parameter in enumerate(parameters)
            if (moments := groups.get(f"optimizer.{index}"))
        }
        self.optimizer.load_state_dict(self.optimizer.state_dict() | {"state": momenta})
        self.schedule.scheduler.load_state_dict(numbers["schedule"])
        for group, rate in zip(self.optimizer.param_groups, numbers["rates"], strict=True):
            group["lr"] = rate
        self.order.bit_generator.state = numbers["order"]
        self.history = [Epoch.model_validate(epoch) for epoch in numbers["history"]]
        torch.set_rng_state(groups["random"]["cpu"])
        if "cuda" in groups["random"]:
            torch.cuda.set_rng_state(groups["random"]["cuda"])


def _laid_out_as(parameter: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """`value` in the memory order of its parameter; fused Adam walks both as plain memory."""
    if value.shape != parameter.shape:  # the number of steps
        return value
    return torch.empty_like(parameter, dtype=value.dtype).copy_(value)


@dataclass(frozen=True)
class Checkpoint:
    """The place of one run's checkpoint, and what a checkpoint has to match to be believed.

    Attributes:
        origin: whatever decides the outcome: settings, fingerprints, versions, processor.
        clock: of the run; the time that earlier sittings trained is added to it.
    """

    path: Path
    origin: Mapping[str, Any]
    clock: Clock

    def save(self, state: TrainingState) -> None:
        """Replace the checkpoint. On a full disk training goes on, and this is told."""
        tensors = state.tensors()
        content = {
            "origin": self.origin,
            "numbers": state.numbers(),
            "spent": self.clock.spent("train").tolist(),
            "tensors": weights_hash(tensors),
        }
        content["checksum"] = checksum(content)
        try:
            with files.replaced(self.path) as partial:
                save_file(tensors, partial, {"content": json.dumps(content)})
        except (InputError, SafetensorError) as error:
            print(f"No checkpoint of this epoch, training goes on. {error}", flush=True)

    def resume(self, state: TrainingState) -> None:
        """Let `state` go on from the checkpoint, if there is one that can be believed."""
        for leftover in self.path.parent.glob(f".{self.path.name}.*"):  # of a killed process
            with suppress(OSError):
                leftover.unlink()
        if not self.path.is_file():
            return
        try:
            tensors, content = self._read()
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            print(f"{self.path.name} is not used, training starts anew: {error}", flush=True)
            return
        state.restore(tensors, content["numbers"])
        self.clock.resume("train", np.array(content["spent"]))
        print(f"Resumed after epoch {len(state.history)}, from a checkpoint.", flush=True)

    def _read(self) -> tuple[Tensors, dict[str, Any]]:
        """Tensors and the rest.

        Raises:
            ValueError: not as it was written, or written by another run than this one.
            SafetensorError, OSError, KeyError, TypeError: not a checkpoint at all.
        """
        with safe_open(self.path, framework="pt") as file:
            content = json.loads(file.metadata()["content"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        damaged = content.pop("checksum") != checksum(content)
        if damaged or content["tensors"] != weights_hash(tensors):
            raise ValueError("it is damaged.")
        now = json.loads(json.dumps(self.origin))
        different = [name for name in now if content["origin"].get(name) != now[name]]
        if different:
            raise ValueError(f"it was made with other {', '.join(different)}.")
        return tensors, content
