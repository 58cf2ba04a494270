"""The race of learning rates: each trains from the same start, and the best one continues.

A rate that suits one depth ruins another, so in a fair comparison every run chooses its own.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from effnet_core.errors import InputError
from effnet_core.study.design import Settings
from effnet_core.study.schema import Epoch, Heat

Position = dict[str, Any]


class Racer(Protocol):
    """A training that can report its position and return to an earlier one."""

    history: list[Epoch]

    def position(self) -> Position: ...
    def go_to(self, position: Mapping[str, Any]) -> None: ...


@dataclass
class Race:
    """The race of a run, with one heat per rate; a single rate needs no race.

    Attributes:
        heats: the finished heats.
        start: position at which every heat starts; None without a race, and after it.
        leader: position at the end of the best heat so far.
    """

    settings: Settings
    heats: list[Heat] = field(default_factory=list)
    start: Position | None = None
    leader: Position | None = None

    @property
    def decided(self) -> bool:
        rates = self.settings.rates
        return len(rates) == 1 or len(self.heats) == len(rates)

    @property
    def epochs(self) -> int:
        """Upper bound of the epochs in finished heats, without those of the winner."""
        ended = min(len(self.heats), len(self.settings.rates) - 1)
        return ended * self.settings.race_epochs

    def begin(self, racer: Racer) -> None:
        if not self.decided:
            self.start = copy.deepcopy(racer.position())

    def end_heat(self, racer: Racer, *, diverged: bool = False) -> None:
        """Record a heat's loss, then start the next heat or continue from the winner's position.

        Raises:
            InputError: all heats diverged.
        """
        loss = None if diverged else racer.history[-1].validation.loss
        if loss is not None and loss < self._lowest:
            self.leader = copy.deepcopy(racer.position())
        rates = self.settings.rates
        self.heats.append(Heat(learning_rate=rates[len(self.heats)], validation_loss=loss))
        if self.start and not self.decided:
            racer.go_to(self.start | {"rate": rates[len(self.heats)]})
        elif self.leader:
            racer.go_to(self.leader)
            self.start = self.leader = None
        else:
            raise InputError("Training diverged with every learning rate. Lower learning_rate.")

    @property
    def _lowest(self) -> float:
        losses = (heat.validation_loss for heat in self.heats)
        return min((loss for loss in losses if loss is not None), default=float("inf"))

    def content(self) -> dict[str, Any]:
        """The state of the race for a checkpoint; tensors are not copied."""
        heats = [heat.model_dump() for heat in self.heats]
        return {"heats": heats, "start": self.start, "leader": self.leader}

    def restore(self, content: Mapping[str, Any]) -> None:
        self.heats = [Heat.model_validate(heat) for heat in content["heats"]]
        self.start, self.leader = content["start"], content["leader"]
