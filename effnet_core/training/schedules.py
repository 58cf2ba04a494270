"""The two learning-rate schedules of the source, stepped once an epoch."""

import warnings
from collections.abc import Iterable

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ReduceLROnPlateau

from effnet_core.study.design import Settings


class Schedule:
    """One interface for both: after each epoch, `step(validation_loss)`."""

    def __init__(self, optimizer: Optimizer, settings: Settings) -> None:
        self.scheduler: ReduceLROnPlateau | CosineAnnealingLR
        if settings.scheduler == "plateau":
            self.scheduler = ReduceLROnPlateau(
                optimizer, patience=settings.plateau_patience, factor=settings.plateau_factor
            )
        else:
            self.scheduler = CosineAnnealingLR(optimizer, T_max=settings.epochs)

    def step(self, validation_loss: float) -> None:
        """Set the next epoch's rate; the cosine schedule does not look at the loss."""
        if isinstance(self.scheduler, ReduceLROnPlateau):
            self.scheduler.step(validation_loss)
        else:
            self.scheduler.step()

    def replay(self, validation_losses: Iterable[float]) -> None:
        """Get to where epochs with these losses have led, as if they had been trained here."""
        with warnings.catch_warnings():
            # It is missing the steps of the optimizer, whose state is restored instead.
            warnings.filterwarnings("ignore", "Detected call of `lr_scheduler.step")
            for loss in validation_losses:
                self.step(loss)
