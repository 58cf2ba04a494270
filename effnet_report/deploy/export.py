"""The kept model in the formats of others: ONNX, a folder that timm loads, a model card."""

import shutil
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from timm.models import EfficientNet, save_for_hf
from torch import nn

from effnet_core import files, paths
from effnet_core.errors import InputError, cannot
from effnet_core.model.backbones import build_network
from effnet_core.model.heads import build_head
from effnet_report.deploy import card
from effnet_report.deploy.calibration import images_of
from effnet_report.deploy.kept import Kept
from effnet_report.publishing.exchange import alone, check_replaceable, exchange, recover

MODEL, CARD, HEAD = "model.onnx", "README.md", "head.safetensors"
WRITTEN = {MODEL, CARD, HEAD, "config.json", "model.safetensors"}
# Of calibrated probabilities, on the images compared. The arithmetic is that of another library, in
# float32.
ALLOWED, COMPARED = {"float32": 1e-3, "bfloat16": 0.05}, 64
# How timm brings an image to the square; it fills up with black where it pads.
CROPS = {"squash": "squash", "pad": "border", "crop": "center"}


@dataclass(frozen=True)
class Exported:
    """What was written, and how it agrees.

    Attributes:
        difference: the largest between probabilities of ONNX Runtime and PyTorch, 0..1.
        images: so many test images were compared.
    """

    folder: Path
    difference: float
    images: int


class Whole(nn.Module):
    """From the pixels of an image to calibrated probabilities."""

    def __init__(self, network: nn.Module, kept: Kept) -> None:
        super().__init__()
        self.network = network
        self.temperature = kept.calibration.stated.temperature
        self.register_buffer("mean", 255 * torch.tensor(kept.backbone.mean).view(1, 3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(kept.backbone.std).view(1, 3, 1, 1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Shape (batch, classes), of images of shape (batch, 3, side, side), 0..255."""
        logits = self.network((image - self.get_buffer("mean")) / self.get_buffer("std"))
        return torch.softmax(logits / self.temperature, dim=1)


def export(kept: Kept) -> Exported:
    """Write `results/STUDY/model`, after ONNX Runtime has agreed with PyTorch on test images.

    Raises:
        InputError: the extra `export` is not installed; the images of the training are not here;
            a file or link is in the way; another export is under way; or the outputs differ: then
            nothing is written.
    """
    target = paths.records(kept.study) / "model"
    check_replaceable(target)
    folder = target.with_name(".model")
    try:
        with alone(target.parent):
            try:
                return _exchanged(kept, folder, target)
            finally:
                recover(folder, target)
    except OSError as error:
        raise cannot(f"write {target}", error) from None


def _exchanged(kept: Kept, folder: Path, target: Path) -> Exported:
    """Write into a new folder, and exchange it with the one of an earlier export."""
    recover(folder, target)
    files.check_writable(folder)
    network = _network(kept)
    _to_onnx(network, kept, folder / MODEL)
    exported = Exported(target, *_disagreement(kept, folder / MODEL))
    allowed = ALLOWED[kept.settings.precision]
    if not exported.difference <= allowed:
        raise InputError(
            f"ONNX Runtime differs from PyTorch by {exported.difference:.2g} in a probability "
            f"(allowed: {allowed:g}). Nothing was written; please report it."
        )
    _to_timm(network, kept, folder)
    text = card.text(kept, exported.difference, exported.images)
    (folder / CARD).write_text(text, encoding="utf-8")
    if target.is_dir():
        _carry_over(target, folder)
    exchange(folder, target)
    return exported


def _carry_over(earlier: Path, new: Path) -> None:
    """Keep files that no export writes, and an earlier card whose text differs.

    A person may have filled in the licence.
    """
    if earlier_card := files.set_aside(earlier / CARD, (new / CARD).read_bytes()):
        print(f"The earlier model card differs and is now {earlier_card.name}.")
    for path in earlier.iterdir():
        if path.name in WRITTEN:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.copytree(path, new / path.name, symlinks=True)
        else:
            shutil.copy2(path, new / path.name, follow_symlinks=False)


def _network(kept: Kept) -> EfficientNet:
    """As timm builds it: the routes that make training faster are for PyTorch on a CPU alone."""
    settings, classes = kept.settings, len(kept.classes)
    network = build_network(settings.backbone)
    network.reset_classifier(classes)
    if settings.head == "mlp":
        network.classifier = build_head(settings, kept.backbone.features, classes)
    network.load_state_dict(kept.backbone.network.state_dict())
    network.eval()
    return network


def _to_onnx(network: nn.Module, kept: Kept, path: Path) -> None:
    try:
        import onnx  # noqa: F401, PLC0415  optional
        import onnxruntime  # noqa: F401, PLC0415
        import onnxscript  # noqa: F401, PLC0415
    except ImportError as error:
        raise InputError(
            f"To export, {error.name} is needed: pip install 'effnet-report[export]'."
        ) from None
    side = kept.settings.image_size
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, about itself
        torch.onnx.export(
            Whole(network, kept).eval(),
            (torch.zeros(2, 3, side, side),),
            path,
            input_names=["image"],
            output_names=["probabilities"],
            dynamic_shapes=({0: "batch"},),
            external_data=False,
            verbose=False,
        )


def _disagreement(kept: Kept, path: Path) -> tuple[float, int]:
    """The largest difference of a probability, and on how many test images."""
    import onnxruntime  # noqa: PLC0415  optional

    data = images_of(kept)
    some = data.split.test[:COMPARED]
    ours = kept.calibration.probabilities(kept.ask(data.images, some))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    pixels = np.ascontiguousarray(data.images[some].transpose(0, 3, 1, 2), dtype=np.float32)
    (theirs,) = session.run(None, {"image": pixels})
    return float(np.abs(theirs - ours).max()), len(some)


def _to_timm(network: EfficientNet, kept: Kept, folder: Path) -> None:
    """`config.json` and `model.safetensors`; a head of two layers, which timm has not, beside."""
    settings = kept.settings
    names = {"label_names": kept.classes}
    if settings.head == "mlp":
        safetensors.torch.save_file(network.classifier.state_dict(), folder / HEAD)
        network.reset_classifier(0)
        names = {}
    side = settings.image_size
    how: dict[str, Any] = {
        "input_size": (3, side, side),
        "mean": kept.backbone.mean,
        "std": kept.backbone.std,
    }
    how |= {"interpolation": "bicubic", "crop_pct": 1.0, "crop_mode": CROPS[settings.resize]}
    save_for_hf(network, str(folder), model_config=names, safe_serialization=True, data_config=how)
