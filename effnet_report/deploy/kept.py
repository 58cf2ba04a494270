"""The kept model of a study: loaded, calibrated once on the study's own images, then asked."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save
from safetensors.torch import load_file
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from timm.models import EfficientNet

from effnet_core import files, run
from effnet_core.data.folders import class_names
from effnet_core.errors import InputError
from effnet_core.model.backbones import Backbone, load_backbone, weights_hash
from effnet_core.model.convolutions import move_to_device
from effnet_core.model.freezing import FrozenNetwork
from effnet_core.model.heads import build_head
from effnet_core.model.prefix import Pixels, frozen_boundary
from effnet_core.study.design import Settings, is_url
from effnet_core.study.schema import Record
from effnet_report.escaping import listed
from effnet_report.evidence import locations, weights
from effnet_report.evidence.evidence import Calibrated
from effnet_report.evidence.loader import located

# Unlike the training images: the fifth nearest of them, by the angle between pooled features, is
# farther away than for 95 % of the validation images (Sun et al., ICML 2022).
NEIGHBOUR, QUANTILE = 5, 0.95
RULE = (
    f"An image counts as unlike the training images when the {NEIGHBOUR}th nearest of them, by the "
    f"angle between pooled features, is farther away than for {100 * QUANTILE:.0f} % of the "
    "validation images."
)


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
    """What was learned from the study's own images after training.

    Attributes:
        temperature: logits are divided by it; fitted on the validation images.
        threshold: distance from which an image is unlike the training images.
        false_alarms: share of the test images that are called unlike, 0..1.
        loss: mean log loss on the test images, before and after.
        error: expected calibration error on them, likewise, points (15 bins of equal width).
        features: of the training images, shape (N, width).
    """

    temperature: float
    threshold: float
    false_alarms: float
    test_images: int
    loss: tuple[float, float]
    error: tuple[float, float]
    features: np.ndarray

    def probabilities(self, answers: Answers) -> np.ndarray:
        """Calibrated, shape (N, classes)."""
        return softmax(answers.logits.astype(np.float64) / self.temperature, axis=1)

    def unlike(self, answers: Answers) -> np.ndarray:
        return distances(answers.features, self.features) > self.threshold


@dataclass(frozen=True)
class Kept:
    """The best run's trained network."""

    study: str
    settings: Settings
    record: Record
    network: FrozenNetwork
    backbone: Backbone

    @property
    def classes(self) -> list[str]:
        return self.record.facts.classes

    def ask(self, images: np.ndarray, indices: np.ndarray) -> Answers:
        """Logits and features of images, in batches as training had them.

        Args:
            images: shape (N, side, side, 3), uint8.
            indices: which of them.
        """
        size, features = self.settings.batch_size, []
        pixels = Pixels(images, self.backbone, self.settings.device)
        boundary = frozen_boundary(pixels, self.network.prefix, self.settings.freeze, size, {})
        suffix = self.network.suffix.eval()
        head = list(suffix)[-1]
        hook = head.register_forward_pre_hook(lambda _, given: features.append(given[0]))
        logits = []
        with torch.no_grad():
            for start in range(0, len(indices), size):
                batch = indices[start : start + size]
                # Always whole: algorithms are chosen by batch size, and with them the last bits.
                filled = np.pad(batch, (0, size - len(batch)), mode="edge")
                logits.append(suffix(boundary(filled))[: len(batch)].float().cpu())
                features[-1] = features[-1][: len(batch)].float().cpu()
        hook.remove()
        pooled = torch.nn.functional.normalize(torch.cat(features)).numpy()
        return Answers(torch.cat(logits).numpy(), pooled)

    @cached_property
    def calibration(self) -> Calibration:
        """As it was once computed for these weights, or computed now from the study's images.

        Raises:
            InputError: it has to be computed, and the images are not here.
        """
        beside = locations.calibration(self.study)
        path = beside.with_suffix(".safetensors")
        trained = self.record.outcome.final_weights
        if known := _stated(beside, path, trained):
            return known
        made = self._calibrate()
        features = save({"features": made.features})
        stated = {name: value for name, value in vars(made).items() if name != "features"}
        stated |= {"final_weights": trained, "features": hashlib.sha256(features).hexdigest()}
        try:
            files.write(path, features)
            files.write(beside, (json.dumps(stated, indent=1) + "\n").encode())
        except InputError as error:  # another user's results can be used too
            print(f"The calibration is not kept, and computed anew next time. {error}")
        return made

    def _calibrate(self) -> Calibration:
        data = run.load_data(run.begin_again(self.settings))
        labels, split = data.dataset.labels, data.split
        if data.dataset.fingerprint != self.record.fingerprints.data:
            raise InputError(
                f"The images of {self.study} are not those that its model was trained on. "
                "Put them back, or train again."
            )
        train, validation, test = (
            self.ask(data.images, part) for part in (split.train, split.validation, split.test)
        )
        temperature = fit_temperature(validation.logits, labels[split.validation])
        own = distances(validation.features, train.features)
        threshold = float(np.quantile(own, QUANTILE))
        truth, raw = labels[split.test], test.logits.astype(np.float64)
        return Calibration(
            temperature=temperature,
            threshold=threshold,
            false_alarms=float((distances(test.features, train.features) > threshold).mean()),
            test_images=len(truth),
            loss=(log_loss(raw, truth), log_loss(raw / temperature, truth)),
            error=(calibration_error(raw, truth), calibration_error(raw / temperature, truth)),
            features=train.features,
        )


def _stated(beside: Path, path: Path, trained: str) -> Calibration | None:
    """The calibration that was written for these trained weights, if there is one.

    Raises:
        InputError: there is one, and it cannot be right.
    """
    try:
        stated = Calibrated.model_validate_json(beside.read_bytes())
        features = path.read_bytes()
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        raise InputError(
            f"{beside} is no calibration: its temperature has to be above 0, and all its numbers "
            "finite. Delete it: it is made again."
        ) from None
    if stated.final_weights != trained:
        return None
    if hashlib.sha256(features).hexdigest() != stated.features:
        raise InputError(f"{path} does not belong to {beside}. Delete both: they are made again.")
    numbers = stated.model_dump(exclude={"final_weights", "features"})
    return Calibration(**numbers, features=load_arrays(features)["features"])


def load(study: str, tell: Callable[[str], None] = print) -> Kept:
    """The model of a study's best run on validation.

    Its frozen part comes from the weights that the run started from, its trained part from the
    run's file of weights; both are what the record names, or nothing is loaded.

    Args:
        study: a folder of records, such as `quick` or `published/quick`.
        tell: called before the run is trained again because its weights are missing.

    Raises:
        InputError: no run has finished, the study has images of other classes by now, or the
            weights are not those of the record.
    """
    record = weights.best(study, tell)
    if record is None:
        raise InputError(f"No run of {study} has finished. Start them: effnet sweep {study}")
    settings = located(record.settings, study)
    _check_classes(settings, record)
    run.begin_again(settings)
    backbone = load_backbone(settings.backbone, settings.weights)
    network = backbone.network
    if backbone.fingerprint != record.fingerprints.weights:
        raise InputError(
            f"{settings.backbone} has other weights here (weights = {settings.weights}) than the "
            f"ones that {record.run_id} started from. Put those back."
        )
    head = build_head(settings, network.num_features, len(record.facts.classes))
    frozen = FrozenNetwork(network, head, settings.freeze, getattr(torch, settings.precision))
    network.classifier = head
    _load(frozen, network, weights.path_of(record), record)
    move_to_device(frozen, settings.device)
    return Kept(study, settings, record, frozen.eval(), backbone)


def _check_classes(settings: Settings, record: Record) -> None:
    """Make sure that a study made again under its name is not answered for by its old model.

    A model is used without its training images too; what a URL names is not fetched.
    """
    places = [place for place in (settings.data_dir, settings.labels) if place]
    if settings.dataset != "imagefolder" or any(map(is_url, places)):
        return
    labels = Path(settings.labels) if settings.labels else None
    try:
        here = class_names(Path(settings.data_dir or ""), labels)
    except InputError:
        return
    if here != record.facts.classes:
        raise InputError(
            f"The images of {settings.study} are of the classes {listed(here)} now, and its model "
            f"was trained on {listed(record.facts.classes)}. Put the images back, or give the "
            "study another name."
        )


def _load(frozen: FrozenNetwork, network: EfficientNet, path: Path, record: Record) -> None:
    """Load trained weights into a network, if the file holds those that the record names."""
    started = weights_hash(frozen.prefix.state_dict())
    try:
        network.load_state_dict(load_file(path))
    except (RuntimeError, SafetensorError) as error:
        problem = str(error).strip().splitlines()[0]
    else:
        trained = weights_hash(frozen.suffix.state_dict())
        problem = ""
        if trained != record.outcome.final_weights:
            problem = "the trained weights differ from the recorded ones"
        elif weights_hash(frozen.prefix.state_dict()) != started:
            problem = "the frozen weights differ from the ones that the run started from"
    if problem:
        raise InputError(
            f"{path} does not hold the weights of {record.run_id}: {problem}. Delete the file: "
            "the run is then trained again."
        )


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """What to divide logits by so that their log loss is least (Guo et al., ICML 2017).

    Labels are smoothed as if one image more had come out right and one wrong (after Platt, 1999):
    else a model that is right on all images would be called certain of everything.
    """
    raw, (images, classes) = logits.astype(np.float64), logits.shape
    target = np.full(raw.shape, 1 / (images + 2) / (classes - 1))
    target[np.arange(images), labels] = (images + 1) / (images + 2)
    found = minimize_scalar(
        lambda power: -(target * log_softmax(raw / np.exp(power), axis=1)).sum(),
        bounds=(-3, 3),
        method="bounded",
    )
    return float(np.exp(found.x))


def log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())


def calibration_error(logits: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error, points: |confidence - accuracy| by bin, weighted by images."""
    probabilities = softmax(logits, axis=1)
    sure, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    place = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = [(place == b).mean() * abs(sure[place == b].mean() - right[place == b].mean())
            for b in np.unique(place)]  # fmt: skip
    return 100 * float(np.sum(gaps))


def distances(features: np.ndarray, train: np.ndarray) -> np.ndarray:
    """One minus the cosine to the fifth nearest training image, shape (N,)."""
    nearest = min(NEIGHBOUR, len(train)) - 1
    found = [
        np.partition(1 - features[start : start + 500] @ train.T, nearest, axis=1)[:, nearest]
        for start in range(0, len(features), 500)
    ]
    return np.concatenate(found) if found else np.zeros(0)
