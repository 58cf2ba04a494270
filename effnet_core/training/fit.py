"""The training loop: Adam, cross-entropy, a schedule, early stopping on accuracy."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from effnet_core.errors import InputError
from effnet_core.model.freezing import FrozenNetwork
from effnet_core.model.prefix import Boundary
from effnet_core.study.design import Settings
from effnet_core.study.schema import Epoch
from effnet_core.training.checkpoints import Checkpoint, TrainingState
from effnet_core.training.evaluate import evaluate
from effnet_core.training.schedules import Schedule


@dataclass(frozen=True)
class Fit:
    """A trained model: `suffix` holds the weights of the best epoch."""

    history: list[Epoch]
    best_epoch: int


def fit(
    model: FrozenNetwork,
    boundary: Boundary,
    labels: np.ndarray,
    train: np.ndarray,
    validation: np.ndarray,
    *,
    settings: Settings,
    report: Callable[[Epoch], None],
    checkpoint: Checkpoint | None = None,
) -> Fit:
    """Train the suffix, and leave it with the weights of the best epoch.

    The best epoch has the highest validation accuracy, the first of equals. Training stops
    after `early_stop_patience` epochs without a better one. The plateau schedule watches the
    validation loss instead: with patiences of 1 and 2 on one quantity it could never act.

    Args:
        model: its prefix is not touched.
        boundary: the prefix's output for each image.
        labels: class of every image, shape (N,).
        train: indices of the images to learn from.
        validation: indices of the images that decide the best epoch.
        settings: rate, schedule, batch size, patience, seed.
        report: called after each epoch.
        checkpoint: where training goes on from if it was interrupted; what comes out is the
            same to the bit.

    Raises:
        InputError: the loss is no longer finite.
    """
    optimizer = torch.optim.Adam(
        model.trainable_parameters(), lr=settings.learning_rate, fused=True
    )
    schedule = Schedule(optimizer, settings)
    order = np.random.default_rng(settings.seed)
    torch.manual_seed(settings.seed)
    state = TrainingState(model.suffix, optimizer, schedule, order)
    if checkpoint:
        checkpoint.resume(state)
    while not state.finished(settings):
        rate = optimizer.param_groups[0]["lr"]
        loss = train_epoch(
            model,
            boundary,
            labels,
            order.permutation(train),
            optimizer=optimizer,
            settings=settings,
        )
        scores = evaluate(model.suffix, boundary, labels, validation, settings.batch_size).metrics
        number = len(state.history) + 1
        epoch = Epoch(epoch=number, learning_rate=rate, train_loss=loss, validation=scores)
        state.history.append(epoch)
        if state.best is epoch:
            state.best_weights = {k: v.clone() for k, v in model.suffix.state_dict().items()}
        schedule.step(scores.loss)
        report(epoch)
        if checkpoint:
            checkpoint.save(state)
    model.suffix.load_state_dict(state.best_weights)
    return Fit(state.history, state.best.epoch)


def train_epoch(
    model: FrozenNetwork,
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
    """
    model.train()
    targets = torch.from_numpy(labels).to(settings.device)
    total = torch.zeros((), device=settings.device)
    for batch in batches(order, settings.batch_size):
        loss = cross_entropy(model.suffix(boundary(batch)), targets[batch])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(batch)
    mean = float(total) / len(order)
    if not np.isfinite(mean):
        raise InputError("Training diverged: the loss is not finite. Lower learning_rate.")
    return mean


def batches(order: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut an order into batches. A single image left over joins the last batch.

    Batch norm cannot be computed from one image whose last feature map is 1 x 1.
    """
    cuts = list(range(size, len(order), size))
    if len(order) % size == 1 and cuts:
        cuts.pop()
    return np.split(order, cuts)
