"""The kept model of a study: loaded, calibrated once on the study's own images, then asked."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from effnet_core.errors import InputError
from effnet_core.model.backbones import Backbone, load_backbone, weights_hash
from effnet_core.model.convolutions import move_to_device
from effnet_core.model.freezing import FrozenNetwork
from effnet_core.model.heads import build_head
from effnet_core.model.prefix import Pixels, frozen_boundary
from effnet_core.study.design import Settings, is_url
from effnet_core.study.schema import Record
from effnet_core.training.determinism import make_reproducible
from effnet_report.deploy.calibration import Answers, Calibration, calibration_of
from effnet_report.escaping import listed
from effnet_report.evidence import weights
from effnet_report.evidence.loader import located

if TYPE_CHECKING:  # importing it before `model.compiler` imports PyTorch's compiler, a second
    from timm.models import EfficientNet


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
        features, logits = [], []
        with torch.no_grad():
            for maps, count in self.last_maps(images, indices):
                with self._mixed:
                    pooled = self.pool(maps)
                    scores = self.head(pooled)
                features.append(pooled[:count].float().cpu())
                logits.append(scores[:count].float().cpu())
        unit = torch.nn.functional.normalize(torch.cat(features)).numpy()
        return Answers(torch.cat(logits).numpy(), unit)

    @property
    def pool(self) -> torch.nn.Module:
        """From the last feature maps to pooled features."""
        return list(self.network.suffix)[-2]

    @property
    def head(self) -> torch.nn.Module:
        """From pooled features to logits."""
        return list(self.network.suffix)[-1]

    def last_maps(
        self, images: np.ndarray, indices: np.ndarray
    ) -> Iterator[tuple[torch.Tensor, int]]:
        """What is pooled, batch by batch: shape (batch size, channels, height, width).

        Batches are whole, as algorithms are chosen by batch size, and with them the last bits: a
        shorter one is filled up with copies. The number says how many images of a batch count.
        """
        size = self.settings.batch_size
        pixels = Pixels(images, self.backbone, self.settings.device)
        boundary = frozen_boundary(pixels, self.network.prefix, self.settings.freeze, size, {})
        trained = list(self.network.suffix.eval())[:-2]
        for start in range(0, len(indices), size):
            batch = indices[start : start + size]
            with self._mixed, torch.no_grad():
                maps = boundary(np.pad(batch, (0, size - len(batch)), mode="edge"))
                for module in trained:
                    maps = module(maps)
            yield maps, len(batch)

    @property
    def _mixed(self) -> torch.autocast:
        """The precision of the trained part."""
        precision = self.network.suffix.precision
        return torch.autocast(self.settings.device, precision, enabled=precision != torch.float32)

    @cached_property
    def calibration(self) -> Calibration:
        """Errors as in `calibration_of`."""
        return calibration_of(self)


def load(study: str, tell: Callable[[str], None] = print) -> Kept:
    """The model of a study's best run on validation.

    Its frozen part comes from the weights that the run started from, its trained part from the
    run's file of weights; both are what the record names, or nothing is loaded. A model that was
    trained on a GPU answers on a CPU too, equal but for the last bits.

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
    if not torch.cuda.is_available():
        settings = settings.model_copy(update={"device": "cpu"})
    _check_classes(settings, record)
    make_reproducible(settings)
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
    from effnet_core.data.layout import folders, tables  # noqa: PLC0415  import pandas

    try:
        if settings.labels:
            here = tables.class_names(Path(settings.labels))
        else:
            here = folders.class_names(Path(settings.data_dir or ""))
    except InputError:
        return
    if here and here != record.facts.classes:
        raise InputError(
            f"The images of {settings.study} are of the classes {listed(here)} now, and its model "
            f"was trained on {listed(record.facts.classes)}. Put the images back, or give the "
            "study another name."
        )


def _load(frozen: FrozenNetwork, network: "EfficientNet", path: Path, record: Record) -> None:
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
