"""Where training is: everything that its next epoch depends on."""

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
    """What an epoch starts from and what it leaves.

    Attributes:
        suffix: the part of the network that trains.
        order: draws the order of the images.
        best_weights: of the suffix at the best epoch; empty where the last epoch's count.
        head_first: epochs in which the head trained alone, before all others.
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
        """Before the first epoch; sets PyTorch's random numbers."""
        groups = model.parameter_groups(settings.rates[0], settings.layer_decay)
        optimizer = torch.optim.Adam(groups, lr=settings.rates[0], fused=True)
        schedule = Schedule(optimizer, settings)
        order = np.random.default_rng(settings.seed)
        torch.manual_seed(settings.seed)
        return cls(settings, model.suffix, optimizer, schedule, order, Race(settings))

    @property
    def best(self) -> Epoch:
        """The epoch with the highest validation score, the first of equals."""
        criterion = self.settings.criterion
        return max(self.history, key=lambda epoch: epoch.validation.score(criterion))

    @property
    def finished(self) -> bool:
        """Whether all epochs are done, or none was better for as long as the patience lasts."""
        done = len(self.history)
        return done == self.settings.epochs or (
            done > 0 and done - self.best.epoch >= self.settings.patience
        )

    @property
    def heat_ends(self) -> bool:
        """Whether this rate has trained as long as the race lasts."""
        racing = not self.race.decided
        return racing and (len(self.history) == self.settings.race_epochs or self.finished)

    @property
    def scheduled(self) -> bool:
        """Whether a schedule may have changed a rate: from a second epoch on."""
        return len(self.history) > 1 or (self.race.heats != [] and self.settings.race_epochs > 1)

    def add(self, epoch: Epoch) -> None:
        """Note an epoch that has been trained, its weights if it is the best, and go on."""
        self.history.append(epoch)
        if self.settings.select == "best" and self.best is epoch:
            self.best_weights = {k: v.clone() for k, v in self.suffix.state_dict().items()}
        self.schedule.step(epoch.validation.loss)

    def select(self) -> int:
        """Give the suffix the weights that count; the number of their epoch."""
        if self.settings.select == "last":
            return len(self.history)
        self.suffix.load_state_dict(self.best_weights)
        return self.best.epoch

    def position(self) -> dict[str, Any]:
        """All but the race, and the schedule, which follows. Tensors are not copied."""
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
        """Be where `position` came from, at the rate that this schedule then sets."""
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
        """All that a checkpoint keeps; tensors are not copied."""
        head_first = [epoch.model_dump() for epoch in self.head_first]
        return self.position() | {"race": self.race.content(), "head_first": head_first}

    def restore(self, content: Mapping[str, Any]) -> None:
        """Become the state that `content` came from."""
        self.race.restore(content["race"])
        self.head_first = [Epoch.model_validate(epoch) for epoch in content["head_first"]]
        self.go_to(content)
