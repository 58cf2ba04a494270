"""The two learning-rate schedules of the source, stepped once per epoch."""

import warnings
from collections.abc import Iterable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from effnet_core.study.design import Settings


class Schedule:
    """A common interface for both schedules: `step(validation_loss)` after each epoch.

    Attributes:
        rate: the initial learning rate.
    """

    def __init__(self, optimizer: Optimizer, settings: Settings) -> None:
        self.optimizer = optimizer
        self.settings = settings
        self.restart(settings.rates[0])

    def restart(self, rate: float, validation_losses: Iterable[float] = ()) -> None:
        """Start again with an initial rate, and replay epochs with these validation losses.

        A parameter group with a `scale` gets this share of the rate.
        """
        self.rate = rate
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] = rate * group.get("scale", 1.0)
        self.scheduler = self._scheduler()
        with warnings.catch_warnings():
            # PyTorch expects steps of the optimizer; its state is restored instead.
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
            for loss in validation_losses:
                self.step(loss)

    def _scheduler(self) -> ReduceLROnPlateau | CosineAnnealingLR:
        settings = self.settings
        if settings.scheduler == "plateau":
            return ReduceLROnPlateau(
                self.optimizer, patience=settings.plateau_patience, factor=settings.plateau_factor
            )
        return CosineAnnealingLR(self.optimizer, T_max=settings.epochs)

    def step(self, validation_loss: float) -> None:
        """Set the next epoch's rate; the cosine schedule ignores the loss."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(validation_loss)
        else:
            self.scheduler.step()
