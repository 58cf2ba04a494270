"""The training loop: Adam, cross-entropy, a schedule, early stopping on the validation score."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from effnet_core.data import augment
from effnet_core.model.backbones import weights_hash
from effnet_core.model.freezing import FrozenNetwork
from effnet_core.model.prefix import Boundary, Remembered, Stages
from effnet_core.study.design import Settings
from effnet_core.study.schema import Epoch, Heat
from effnet_core.training.checkpoints import Checkpoint
from effnet_core.training.evaluate import DivergedError, evaluate
from effnet_core.training.state import TrainingState

# Adam's default. On constant features, a head trains well over a wide range of rates.
HEAD_RATE = 1e-3


@dataclass(frozen=True)
class Fit:
    """The outcome of training; the model's suffix holds the weights of the chosen epoch.

    Attributes:
        history: epochs trained with the learning rate that won the race.
        best_epoch: the chosen epoch: the best on validation, or the last with `select: last`.
        race: one heat per learning rate; empty without a race.
        head_first: epochs of the head alone, before those of the history.
        final_weights: sha256 of the weights of the chosen epoch.
    """

    history: list[Epoch]
    best_epoch: int
    race: list[Heat]
    head_first: list[Epoch]
    final_weights: str


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
    """Train the suffix of a model, and give it the weights of the best epoch.

    The best epoch has the highest validation score; of equal epochs the first counts. Training
    stops after `early_stop_patience` epochs without an improvement. The plateau schedule watches
    the validation loss instead, because with patiences of 1 and 2 on the same quantity training
    would stop before the schedule could act.

    Several learning rates race first. The rate with the lowest validation loss after
    `race_epochs` wins, and training continues from its state. A rate that diverges loses.

    Args:
        model: the network; its prefix is not changed.
        boundary: provides the prefix's output for each image.
        labels: class of every image, shape (N,).
        train: indices of the training images.
        validation: indices of the validation images.
        settings: rates, schedule, batch size, patience, seed.
        report: called after each epoch.
        checkpoint: state of an interrupted training; resuming leads to the same bits.

    Raises:
        InputError: the loss is no longer finite.
    """
    data = TrainingData(labels, train, validation, settings)
    state = TrainingState.before(model, settings)
    if not (checkpoint and checkpoint.resume(state)):
        state.head_first = train_head_first(state, boundary, data)
        state.race.begin(state)
    while not (state.race.decided and state.finished):
        number = len(state.history) + 1
        try:
            state.add(data.epoch(number, state.suffix, boundary, state.optimizer, state.order))
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
    best_epoch = state.select()
    final_weights = weights_hash(model.suffix.state_dict())
    return Fit(state.history, best_epoch, state.race.heats, state.head_first, final_weights)


def train_head_first(state: TrainingState, boundary: Boundary, data: "TrainingData") -> list[Epoch]:
    """Train only the head for `head_first` epochs, on features computed once per view.

    So the gradients of a random head do not distort the pretrained layers (Kumar et al. 2022,
    arXiv 2202.10054). The features are those of the initial weights.
    """
    settings = state.settings
    if not settings.head_first:
        return []
    *body, head = state.suffix.children()
    headless = nn.Sequential(*body).eval()
    features = Remembered(Stages(boundary, headless, settings.batch_size))
    optimizer = torch.optim.Adam(head.parameters(), lr=HEAD_RATE, fused=True)
    return [
        data.epoch(number, head, features, optimizer, state.order)
        for number in range(1, settings.head_first + 1)
    ]


@dataclass(frozen=True)
class TrainingData:
    """Labels and indices of the images for training and validation.

    Attributes:
        labels: class of every image, shape (N,).
        train, validation: indices of images.
    """

    labels: np.ndarray
    train: np.ndarray
    validation: np.ndarray
    settings: Settings

    def epoch(
        self,
        number: int,
        module: nn.Module,
        boundary: Boundary,
        optimizer: torch.optim.Optimizer,
        order: np.random.Generator,
    ) -> Epoch:
        """Train one epoch, then evaluate on the validation images.

        Args:
            number: the epoch, counted from 1; decides the views of the images.
            module: from boundary activations to logits.
            order: random generator for the order of the images.

        Raises:
            DivergedError: the loss is no longer finite.
        """
        settings, labels = self.settings, self.labels
        rate = optimizer.param_groups[-1]["lr"]
        rows = augment.rows(order.permutation(self.train), number, len(labels), settings)
        weights = class_weights(labels[self.train], settings)
        loss = train_epoch(
            *(module, boundary, labels, rows),
            optimizer=optimizer,
            settings=settings,
            class_weights=weights,
        )
        scores = evaluate(
            *(module, boundary, labels, self.validation, settings.batch_size),
            class_weights=weights,
        ).metrics
        return Epoch(epoch=number, learning_rate=rate, train_loss=loss, validation=scores)


def train_epoch(
    suffix: nn.Module,
    boundary: Boundary,
    labels: np.ndarray,
    rows: np.ndarray,
    *,
    optimizer: torch.optim.Optimizer,
    settings: Settings,
    class_weights: torch.Tensor | None = None,
) -> float:
    """Train on rows in the given order, once.

    Args:
        rows: views of the images, see `augment.rows`.
        class_weights: weights of the classes in the loss, shape (classes,).

    Returns:
        Mean training loss over the images, dropout active.

    Raises:
        DivergedError: the loss is not finite.
    """
    suffix.train()
    targets = torch.from_numpy(labels).to(settings.device)
    total = torch.zeros((), device=settings.device)
    for batch in batches(rows, settings.batch_size):
        loss = cross_entropy(suffix(boundary(batch)), targets[batch % len(labels)], class_weights)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.detach() * len(batch)
    mean = float(total) / len(rows)
    if not np.isfinite(mean):
        raise DivergedError
    return mean


def class_weights(labels: np.ndarray, settings: Settings) -> torch.Tensor | None:
    """Weight of each class in the loss; None if all images count the same.

    Balanced weights are those of scikit-learn: inversely proportional to the number of images of
    a class, with a mean of 1 over the images.

    Args:
        labels: classes of the training images; every class occurs.
    """
    if settings.class_weights == "none":
        return None
    counts = np.bincount(labels)
    weights = len(labels) / (len(counts) * counts)
    return torch.tensor(weights, dtype=torch.float32, device=settings.device)


def batches(order: np.ndarray, size: int) -> list[np.ndarray]:
    """Divide an order into batches; a single remaining image joins the last batch.

    Batch norm cannot be computed from one image whose last feature map is 1 x 1.
    """
    cuts = list(range(size, len(order), size))
    if len(order) % size == 1 and cuts:
        cuts.pop()
    return np.split(order, cuts)
