"""What is learned once from a study's own images, so that its model's answers can be relied on."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save

from effnet_core import files
from effnet_core.errors import InputError, cannot
from effnet_report.evidence import locations
from effnet_report.evidence.calibrated import Calibrated, Certainty, Example, Threshold

if TYPE_CHECKING:  # slow to import, and needed once
    from effnet_core.data.datasets import Dataset
    from effnet_core.run import Data
    from effnet_report.deploy.kept import Kept

# Unlike the training images: the fifth nearest of them, by the angle between pooled features, is
# farther away than for 95 % of the validation images (Sun et al., ICML 2022).
NEIGHBOUR, QUANTILE = 5, 0.95
RULE = (
    f"An image is marked as unlike the training images if the network finds it less similar to "
    f"them than {100 * QUANTILE:.0f} % of the validation images (measure: the angle between its "
    f"pooled features and those of the {NEIGHBOUR}th nearest training image)."
)
RECALL = 0.95  # of a class that should rarely be missed
OTHERS, EXAMPLES = 200, 6  # images of another data set; of the hardest and the most typical
GROUPS = 10  # of probability
BINS = 15  # of the calibration error (Guo et al., ICML 2017)
DIGITS = 3  # decimals of a logit in a map


@dataclass(frozen=True)
class Answers:
    """What a model says of some images.

    Attributes:
        logits: shape (N, classes), float32.
        features: pooled, of length one, shape (N, width), float32.
    """

    logits: np.ndarray
    features: np.ndarray


@dataclass(frozen=True)
class Calibration:
    """How a model's answers become probabilities, and which images it does not know.

    Attributes:
        stated: the numbers, and examples.
        features: of the training images, shape (N, width).
    """

    stated: Calibrated
    features: np.ndarray

    def probabilities(self, answers: Answers) -> np.ndarray:
        """Calibrated, shape (N, classes)."""
        return softened(answers.logits, self.stated.temperature)

    def unlike(self, answers: Answers) -> np.ndarray:
        """Whether each image is unlike the training images, shape (N,), bool."""
        return distances(answers.features, self.features) > self.stated.threshold

    def chosen(self, probabilities: np.ndarray, never_miss: int | None = None) -> np.ndarray:
        """The class of each image, shape (N,): the most probable one.

        Args:
            probabilities: shape (N, classes).
            never_miss: class that an image gets from the threshold of this class on.
        """
        if never_miss is None:
            return probabilities.argmax(axis=1)
        rest = probabilities.copy()
        rest[:, never_miss] = -1
        enough = probabilities[:, never_miss] >= self.stated.thresholds[never_miss].probability
        return np.where(enough, never_miss, rest.argmax(axis=1))

    def reliability(self) -> str:
        """How often the rule is right, measured."""
        known = self.stated
        return (
            f"{RULE} The rule wrongly marks {100 * known.false_alarms:.1f} % of the "
            f"{known.test_images} test images, and rightly marks {100 * known.detected:.1f} % of "
            f"{known.other_images} images of another data set ({known.other})."
        )


def calibration_of(kept: "Kept") -> Calibration:
    """As it was once computed for these weights, or computed now from the study's images.

    Raises:
        InputError: it has to be computed, and the images are not here; or its files are damaged.
    """
    beside = locations.calibration(kept.study)
    path = beside.with_suffix(".safetensors")
    return _read(kept, beside, path) or _make(kept, beside, path)


def _read(kept: "Kept", beside: Path, path: Path) -> Calibration | None:
    """The calibration that was written for these trained weights and classes, if there is one.

    Raises:
        InputError: there is one, and it cannot be right.
    """
    try:
        content = json.loads(files.read(beside))
        if content.keys() != Calibrated.model_fields.keys():  # another version's
            return None
        stated = Calibrated.model_validate(content)
        arrays = files.read(path)
    except FileNotFoundError:
        return None
    except PermissionError as error:
        raise cannot(f"read {beside}", error) from None
    except (OSError, ValueError, AttributeError, ValidationError):
        raise InputError(
            f"{beside} is no calibration: its temperature has to be above 0, all its numbers "
            "finite, and no part larger than its whole. Delete it: it is made again."
        ) from None
    trained = kept.record.outcome.final_weights
    if (stated.final_weights, len(stated.thresholds)) != (trained, len(kept.classes)):
        return None
    try:
        features = load_arrays(arrays)["features"]
        fits = features.ndim == 2 and features.shape[1] == kept.backbone.features and len(features)
    except (SafetensorError, KeyError):
        fits = False
    if not fits or hashlib.sha256(arrays).hexdigest() != stated.features:
        raise InputError(f"{path} does not belong to {beside}. Delete both: they are made again.")
    return Calibration(stated, features)


def images_of(kept: "Kept") -> "Data":
    """The images that the model was trained on, with their split.

    The fingerprint of the images leaves out columns of a table, such as parts and groups, so the
    split is compared too.

    Raises:
        InputError: they are not here, or they or their split have changed.
    """
    from effnet_core import run  # noqa: PLC0415  imports what a training needs

    data = run.load_data(run.begin_again(kept.settings))
    if data.dataset.fingerprint != kept.record.fingerprints.data:
        raise InputError(
            f"The images of {kept.study} are not those that its model was trained on. "
            "Put them back, or train again."
        )
    if data.split.fingerprint != kept.record.fingerprints.split:
        raise InputError(
            f"The training, validation and test images of {kept.study} are no longer those of "
            f"{kept.record.run_id}, so that its model could be judged on images that it was "
            "trained on. The parts or groups of the images have changed since: restore them, or "
            "give the study another name and train it."
        )
    return data


def _make(kept: "Kept", beside: Path, path: Path) -> Calibration:
    data = images_of(kept)
    labels, split = data.dataset.labels, data.split
    train, validation, test = (
        kept.ask(data.images, part) for part in (split.train, split.validation, split.test)
    )
    temperature = fit_temperature(validation.logits, labels[split.validation])
    threshold = float(np.quantile(distances(validation.features, train.features), QUANTILE))
    truth, raw = labels[split.test], test.logits.astype(np.float64)
    probabilities = softened(raw, temperature)
    hardest, typical = _examples(kept, data, probabilities)
    other = _other(data.dataset)
    far = kept.ask(*_drawn(kept, other))
    content = save({"features": train.features})
    stated = Calibrated(
        final_weights=kept.record.outcome.final_weights,
        temperature=temperature,
        threshold=threshold,
        false_alarms=float((distances(test.features, train.features) > threshold).mean()),
        test_images=len(truth),
        other=other.name,
        other_images=len(far.logits),
        detected=float((distances(far.features, train.features) > threshold).mean()),
        loss=(log_loss(raw, truth), log_loss(raw / temperature, truth)),
        error=(calibration_error(raw, truth), calibration_error(raw / temperature, truth)),
        thresholds=thresholds(
            softened(validation.logits, temperature),
            labels[split.validation],
            probabilities,
            truth,
        ),
        certainty=certainty(probabilities, truth),
        hardest=hardest,
        typical=typical,
        features=hashlib.sha256(content).hexdigest(),
    )
    try:
        files.write(path, content)
        files.write(beside, (stated.model_dump_json(indent=1) + "\n").encode())
    except InputError as error:  # another user's results can be used too
        print(f"The calibration is not kept, and computed anew next time. {error}")
    return Calibration(stated, train.features)


# From this probability on, no other class is more probable: a class that is not to be missed is
# never called less often than without a threshold.
EVEN = 0.5


def thresholds(
    validation: np.ndarray, labels: np.ndarray, test: np.ndarray, truth: np.ndarray
) -> list[Threshold]:
    """The threshold of each class: chosen on validation images, confirmed on test images.

    Args:
        validation, test: probabilities, shape (N, classes).
        labels, truth: their classes.
    """
    chosen = []
    for kind in range(validation.shape[1]):
        own = np.sort(validation[labels == kind, kind])
        least = float(own[int((1 - RECALL) * len(own))]) if len(own) else 0.0
        least = min(least, EVEN)
        called = test[:, kind] >= least
        threshold = Threshold(
            probability=least,
            validation_images=len(own),
            found=int(called[truth == kind].sum()),
            images=int((truth == kind).sum()),
            false_alarms=int(called[truth != kind].sum()),
            others=int((truth != kind).sum()),
        )
        chosen.append(threshold)
    return chosen


def certainty(probabilities: np.ndarray, truth: np.ndarray) -> list[Certainty]:
    """How often the most probable class is right, by its probability.

    Args:
        probabilities: shape (N, classes).
        truth: the classes, shape (N,).
    """
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == truth
    group = np.minimum((sure * GROUPS).astype(int), GROUPS - 1)
    return [
        Certainty(
            probability=float(sure[group == number].mean()),
            right=int(right[group == number].sum()),
            images=int((group == number).sum()),
        )
        for number in np.unique(group)
    ]


def _examples(
    kept: "Kept", data: "Data", probabilities: np.ndarray
) -> tuple[list[Example], list[Example]]:
    """The hardest and the most typical test images, and where they speak for what is predicted."""
    from effnet_report.deploy.explain import evidence_maps  # noqa: PLC0415  imports this

    dataset, test = data.dataset, data.split.test
    truth, predicted = dataset.labels[test], probabilities.argmax(axis=1)
    sure = probabilities[np.arange(len(test)), truth]
    order = np.argsort(sure, kind="stable")
    count = min(EXAMPLES, len(order) // 2)
    shown = np.concatenate([order[:count], order[::-1][:count]])
    maps = evidence_maps(kept, data.images, test[shown], predicted[shown])
    examples = [
        Example(
            image=dataset.names[test[row]],
            label=dataset.classes[truth[row]],
            predicted=dataset.classes[predicted[row]],
            probability=float(sure[row]),
            heat=np.round(heat, DIGITS).tolist(),
        )
        for row, heat in zip(shown, maps.astype(float), strict=True)
    ]
    return examples[:count], examples[count:]


def _other(dataset: "Dataset") -> "Dataset":
    """A packaged data set whose images are of another kind."""
    from effnet_core.data.datasets import digits, elpv  # noqa: PLC0415

    return digits() if dataset.name == "elpv" else elpv()


def _drawn(kept: "Kept", other: "Dataset") -> tuple[np.ndarray, np.ndarray]:
    """Images of another data set, drawn by chance, as the network gets them."""
    from effnet_core.data.images import decode  # noqa: PLC0415

    drawn = np.random.default_rng(0).permutation(len(other))[:OTHERS]
    size, look = kept.settings.image_size, (kept.settings.resize, kept.settings.background)
    views = np.stack([decode(other.images[index], size, *look) for index in drawn])
    return views, np.arange(len(views))


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """What to divide logits by so that their log loss is least (Guo et al., ICML 2017).

    Labels are smoothed as if one image more had come out right and one wrong (after Platt, 1999):
    else a model that is right on all images would be called certain of everything.
    """
    from scipy.optimize import minimize_scalar  # noqa: PLC0415  slow to import, needed once

    raw, (images, classes) = logits.astype(np.float64), logits.shape
    target = np.full(raw.shape, 1 / (images + 2) / (classes - 1))
    target[np.arange(images), labels] = (images + 1) / (images + 2)
    minimum = minimize_scalar(
        lambda power: -(target * _log_softmax(raw / np.exp(power))).sum(),
        bounds=(-3, 3),
        method="bounded",
    )
    return float(np.exp(minimum.x))


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(-_log_softmax(logits)[np.arange(len(labels)), labels].mean())


def softened(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Probabilities at a temperature, shape (N, classes)."""
    return np.exp(_log_softmax(logits / np.float64(temperature)))


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    """By PyTorch, which is imported anyway."""
    return torch.from_numpy(np.asarray(logits, np.float64)).log_softmax(dim=1).numpy()


def calibration_error(logits: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error, points: |confidence - accuracy| by bin, weighted by images."""
    probabilities = np.exp(_log_softmax(logits))
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    bin_of = np.minimum((sure * BINS).astype(int), BINS - 1)
    gaps = [(bin_of == b).mean() * abs(sure[bin_of == b].mean() - right[bin_of == b].mean())
            for b in np.unique(bin_of)]  # fmt: skip
    return 100 * float(np.sum(gaps))


def distances(features: np.ndarray, train: np.ndarray) -> np.ndarray:
    """One minus the cosine to the fifth nearest training image, shape (N,)."""
    nearest = min(NEIGHBOUR, len(train)) - 1
    batches = [
        np.partition(1 - features[start : start + 500] @ train.T, nearest, axis=1)[:, nearest]
        for start in range(0, len(features), 500)
    ]
    return np.concatenate(batches) if batches else np.zeros(0)
