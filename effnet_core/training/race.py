"""Several learning rates race: each trains from the same start, and the best goes on.

A rate that suits one depth destroys another, so a fair comparison lets every run find its own.
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
    """What trains: it can say where it is, and go anywhere that it has been."""

    history: list[Epoch]

    def position(self) -> Position: ...
    def go_to(self, position: Mapping[str, Any]) -> None: ...


@dataclass
class Race:
    """The rates of a run, one heat per rate. A single rate needs no race.

    Attributes:
        heats: those that have ended.
        start: where every heat begins; None without a race, and after it.
        leader: where the best heat so far ended.
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
        """Trained in the heats that have ended, at most; those of the winner do not count."""
        ended = min(len(self.heats), len(self.settings.rates) - 1)
        return ended * self.settings.race_epochs

    def begin(self, racer: Racer) -> None:
        if not self.decided:
            self.start = copy.deepcopy(racer.position())

    def end_heat(self, racer: Racer, *, diverged: bool = False) -> None:
        """Note a heat's loss, and move on: to the next heat, or to where the winner was.

        Raises:
            InputError: the last heat diverged, as all others did.
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
        """What a checkpoint keeps of the race; tensors are not copied."""
        heats = [heat.model_dump() for heat in self.heats]
        return {"heats": heats, "start": self.start, "leader": self.leader}

    def restore(self, content: Mapping[str, Any]) -> None:
        self.heats = [Heat.model_validate(heat) for heat in content["heats"]]
        self.start, self.leader = content["start"], content["leader"]
