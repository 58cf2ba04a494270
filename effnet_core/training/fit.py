"""The training loop: Adam, cross-entropy, a schedule, early stopping on the validation score."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from effnet_core.model.freezing import FrozenNetwork
from effnet_core.model.prefix import Boundary
from effnet_core.study.design import Settings
from effnet_core.study.schema import Epoch, Heat
from effnet_core.training.checkpoints import Checkpoint
from effnet_core.training.evaluate import DivergedError, evaluate
from effnet_core.training.state import TrainingState


@dataclass(frozen=True)
class Fit:
    """A trained model: `suffix` holds the weights of the best epoch.

    Attributes:
        best_epoch: whose weights count; the last one's if the settings say so.
        race: of the learning rates, if there was one; the history is that of the winner.
    """

    history: list[Epoch]
    best_epoch: int
    race: list[Heat]


def fit(
    model: FrozenNetwork,
    boundary: Boundary,
    labels: np.ndarray,
    train: np.ndarray,
    validation: np.ndarray,
    *,
    settings: Settings,
    report: Callable[[TrainingState], None],
    checkpoint: Checkpoint | None = None,
) -> Fit:
    """Train the suffix, and leave it with the weights of the best epoch.

    The best epoch has the highest validation score, the first of equals. Training stops after
    `early_stop_patience` epochs without a better one. The plateau schedule watches the
    validation loss instead: with patiences of 1 and 2 on one quantity it could never act.

    Several learning rates race first: the one with the lowest validation loss after
    `race_epochs` goes on, from where it is then. A rate that diverges loses.

    Args:
        model: its prefix is not touched.
        boundary: the prefix's output for each image.
        labels: class of every image, shape (N,).
        train: indices of the images to learn from.
        validation: indices of the images that decide the best epoch.
        settings: rates, schedule, batch size, patience, seed.
        report: called after each epoch.
        checkpoint: where training goes on from if it was interrupted; what comes out is the
            same to the bit.

    Raises:
        InputError: the loss is no longer finite.
    """
    state = TrainingState.before(model, settings)
    state.race.begin(state)
    if checkpoint:
        checkpoint.resume(state)
    while not (state.race.decided and state.finished):
        try:
            state.add(next_epoch(state, boundary, labels, train, validation))
        except DivergedError:
            if state.race.decided:
                raise
            state.race.end_heat(state, diverged=True)
        else:
            report(state)
            if state.heat_ends:
                state.race.end_heat(state)
        if checkpoint:
            checkpoint.save(state)
    return Fit(state.history, state.select(), state.race.heats)


def next_epoch(
    state: TrainingState,
    boundary: Boundary,
    labels: np.ndarray,
    train: np.ndarray,
    validation: np.ndarray,
) -> Epoch:
    """Train the next epoch, and see how good the model is then.

    Raises:
        DivergedError: the loss is no longer finite.
    """
    settings = state.settings
    rate = state.optimizer.param_groups[-1]["lr"]
    order = state.order.permutation(train)
    loss = train_epoch(
        state.suffix, boundary, labels, order, optimizer=state.optimizer, settings=settings
    )
    scores = evaluate(state.suffix, boundary, labels, validation, settings.batch_size).metrics
    number = len(state.history) + 1
    return Epoch(epoch=number, learning_rate=rate, train_loss=loss, validation=scores)


def train_epoch(
    suffix: nn.Module,
    boundary: Boundary,
    labels: np.ndarray,
    order: np.ndarray,
    *,
    optimizer: torch.optim.Optimizer,
    settings: Settings,
) -> float:
    """One pass over the images in the given order.

    Returns:
        Mean training loss over the images, dropout active.

    Raises:
        DivergedError: it is not finite.
    """
    suffix.train()
    targets = torch.from_numpy(labels).to(settings.device)
    total = torch.zeros((), device=settings.device)
    for batch in batches(order, settings.batch_size):
        loss = cross_entropy(suffix(boundary(batch)), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(batch)
    mean = float(total) / len(order)
    if not np.isfinite(mean):
        raise DivergedError
    return mean


def batches(order: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut an order into batches. A single image left over joins the last batch.

    Batch norm cannot be computed from one image whose last feature map is 1 x 1.
    """
    cuts = list(range(size, len(order), size))
    if len(order) % size == 1 and cuts:
        cuts.pop()
    return np.split(order, cuts)
