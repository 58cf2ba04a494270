"""Evaluate a model on one part of the data."""

from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import accuracy_score, precision_recall_fscore_support
from torch import nn
from torch.nn.functional import cross_entropy

from effnet_core.errors import InputError
from effnet_core.model.prefix import Boundary
from effnet_core.study.schema import Metrics


class DivergedError(InputError):
    """A loss is no longer finite."""

    def __init__(self) -> None:
        super().__init__("Training diverged: the loss is not finite. Lower learning_rate.")


@dataclass(frozen=True)
class Evaluation:
    """Predictions for some images.

    Attributes:
        indices: the images, shape (N,).
        labels: their classes, shape (N,).
        probabilities: shape (N, classes), each row sums to 1.
        metrics: quality of these predictions.
    """

    indices: np.ndarray
    labels: np.ndarray
    probabilities: np.ndarray
    metrics: Metrics

    @property
    def predicted(self) -> np.ndarray:
        return self.probabilities.argmax(axis=1)

    @property
    def confidence(self) -> np.ndarray:
        """Probability of the predicted class, shape (N,)."""
        return self.probabilities.max(axis=1)


@torch.no_grad()
def evaluate(
    suffix: nn.Module,
    boundary: Boundary,
    labels: np.ndarray,
    indices: np.ndarray,
    batch_size: int,
    *,
    class_weights: torch.Tensor | None = None,
) -> Evaluation:
    """Predict images in evaluation mode, and restore the mode afterwards.

    Args:
        suffix: from boundary activations to logits.
        boundary: provides the activations of each image.
        labels: classes of all images, shape (all,).
        indices: the images to predict.
        batch_size: number of images that pass the suffix together.
        class_weights: weights of the classes in the loss, shape (classes,), as in training.
    """
    was_training = suffix.training
    suffix.eval()
    batches = [indices[i : i + batch_size] for i in range(0, len(indices), batch_size)]
    logits = torch.cat([suffix(boundary(batch)) for batch in batches]).float().cpu()
    suffix.train(was_training)
    truth = labels[indices]
    weights = None if class_weights is None else class_weights.cpu()
    loss = float(cross_entropy(logits, torch.from_numpy(truth), weights))
    probabilities = logits.softmax(dim=1).numpy()
    return Evaluation(indices, truth, probabilities, metrics(truth, probabilities.argmax(1), loss))


def metrics(labels: np.ndarray, predicted: np.ndarray, loss: float) -> Metrics:
    """Compute accuracy and macro averages over the classes that occur, in per cent.

    A class that is never predicted has precision 0, as in scikit-learn.

    Raises:
        DivergedError: the loss is not finite.
    """
    if not np.isfinite(loss):
        raise DivergedError
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, average="macro", zero_division=0
    )
    return Metrics(
        images=len(labels),
        loss=loss,
        accuracy=100 * float(accuracy_score(labels, predicted)),
        precision=100 * float(precision),
        recall=100 * float(recall),
        f1=100 * float(f1),
    )
