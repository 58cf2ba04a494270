"""The state of training: everything that the next epoch depends on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from effnet_core.model.freezing import FrozenNetwork
from effnet_core.study.design import Settings
from effnet_core.study.schema import Epoch
from effnet_core.training.race import Race
from effnet_core.training.schedules import Schedule


@dataclass
class TrainingState:
    """The state between two epochs.

    Attributes:
        suffix: the trained part of the network.
        order: random generator for the order of the images.
        best_weights: weights of the suffix at the best epoch; empty with `select: last`.
        head_first: epochs in which only the head trained, before all others.
    """

    settings: Settings
    suffix: nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    order: np.random.Generator
    race: Race
    history: list[Epoch] = field(default_factory=list)
    best_weights: dict[str, torch.Tensor] = field(default_factory=dict)
    head_first: list[Epoch] = field(default_factory=list)

    @classmethod
    def before(cls, model: FrozenNetwork, settings: Settings) -> "TrainingState":
        """The state before the first epoch; seeds PyTorch's random numbers."""
        groups = model.parameter_groups(settings.rates[0], settings.layer_decay)
        optimizer = torch.optim.Adam(groups, lr=settings.rates[0], fused=True)
        schedule = Schedule(optimizer, settings)
        order = np.random.default_rng(settings.seed)
        torch.manual_seed(settings.seed)
        return cls(settings, model.suffix, optimizer, schedule, order, Race(settings))

    @property
    def best(self) -> Epoch:
        """The epoch with the highest validation score; the first one of equal epochs."""
        criterion = self.settings.criterion
        return max(self.history, key=lambda epoch: epoch.validation.score(criterion))

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or the patience ended without an improvement."""
        done = len(self.history)
        return done == self.settings.epochs or (
            done > 0 and done - self.best.epoch >= self.settings.patience
        )

    @property
    def heat_ends(self) -> bool:
        """Whether this rate has trained for all epochs of the race."""
        racing = not self.race.decided
        return racing and (len(self.history) == self.settings.race_epochs or self.finished)

    @property
    def scheduled(self) -> bool:
        """Whether a schedule may have changed a rate, which is so after a second epoch."""
        return len(self.history) > 1 or (self.race.heats != [] and self.settings.race_epochs > 1)

    def add(self, epoch: Epoch) -> None:
        """Record a trained epoch, keep its weights if it is the best, and step the schedule."""
        self.history.append(epoch)
        if self.settings.select == "best" and self.best is epoch:
            self.best_weights = {k: v.clone() for k, v in self.suffix.state_dict().items()}
        self.schedule.step(epoch.validation.loss)

    def select(self) -> int:
        """Load the weights of the chosen epoch into the suffix, and return the epoch's number."""
        if self.settings.select == "last":
            return len(self.history)
        self.suffix.load_state_dict(self.best_weights)
        return self.best.epoch

    def position(self) -> dict[str, Any]:
        """The state without the race; the schedule follows from it. Tensors are not copied."""
        device = next(self.suffix.parameters()).device
        on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return {
            "suffix": self.suffix.state_dict(),
            "best": self.best_weights,
            "optimizer": self.optimizer.state_dict()["state"],
            "random": (torch.get_rng_state(), on_gpu),
            "order": self.order.bit_generator.state,
            "history": [epoch.model_dump() for epoch in self.history],
            "rate": self.schedule.rate,
        }

    def go_to(self, position: Mapping[str, Any]) -> None:
        """Return to a position, and replay the schedule to the rate it had there."""
        self.suffix.load_state_dict(position["suffix"])
        self.best_weights = position["best"]
        self.optimizer.load_state_dict(
            self.optimizer.state_dict() | {"state": position["optimizer"]}
        )
        self.order.bit_generator.state = position["order"]
        self.history = [Epoch.model_validate(epoch) for epoch in position["history"]]
        self.schedule.restart(position["rate"], [epoch.validation.loss for epoch in self.history])
        on_cpu, on_gpu = position["random"]
        torch.set_rng_state(on_cpu)
        if on_gpu is not None:
            torch.cuda.set_rng_state(on_gpu)

    def content(self) -> dict[str, Any]:
        """The whole state for a checkpoint; tensors are not copied."""
        head_first = [epoch.model_dump() for epoch in self.head_first]
        return self.position() | {"race": self.race.content(), "head_first": head_first}

    def restore(self, content: Mapping[str, Any]) -> None:
        """Restore the state from the `content` of a checkpoint."""
        self.race.restore(content["race"])
        self.head_first = [Epoch.model_validate(epoch) for epoch in content["head_first"]]
        self.go_to(content)
