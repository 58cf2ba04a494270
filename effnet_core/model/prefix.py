"""Activations at the frozen boundary, which are the input of the trained suffix.

A boundary maps row numbers, which stand for images or their views (see `data/augment.py`), to
activations. Boundaries are stacked: `Pixels` normalises images, `Stages` applies frozen stages to
another boundary, and `Cached` keeps the results of another boundary on disk for all epochs and
runs.
"""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from filelock import FileLock
from torch import nn

from effnet_core import cache, processor
from effnet_core.cache import checksum, checksums_path, new_array
from effnet_core.data import augment
from effnet_core.model.backbones import Backbone
from effnet_core.model.cost import worth_caching
from effnet_core.study.code import code_fingerprint
from effnet_core.study.design import Settings
from effnet_core.study.schema import Stage

if TYPE_CHECKING:  # pandas, which is not needed to ask a trained model
    from effnet_core.data.datasets import Dataset

Boundary = Callable[[np.ndarray], torch.Tensor]


class Pixels:
    """The boundary of a network with nothing frozen: normalised images."""

    def __init__(
        self,
        images: np.ndarray,
        backbone: Backbone,
        device: str,
        random_seed: int | None = None,
    ) -> None:
        """Combine images with the normalisation that the backbone's weights expect.

        Args:
            images: shape (N, side, side, 3), uint8.
            backbone: provides mean and standard deviation.
            device: device of the activations.
            random_seed: seed of random views, see `augment.show`.
        """
        self.images = images
        self.random_seed = random_seed
        self.device = device
        self.mean = torch.tensor(backbone.mean, device=device).view(1, 3, 1, 1) * 255
        self.std = torch.tensor(backbone.std, device=device).view(1, 3, 1, 1) * 255

    def __call__(self, indices: np.ndarray) -> torch.Tensor:
        """Shape (len(indices), 3, side, side), float32, channels last."""
        shown = augment.show(self.images, indices, self.random_seed)
        pixels = torch.from_numpy(shown).to(self.device)
        return (pixels.permute(0, 3, 1, 2).float() - self.mean) / self.std


class Stages:
    """Frozen stages on top of another boundary.

    The stages always see exactly `batch_size` images: a shorter batch is filled up with copies of
    its last image, which are dropped afterwards. Convolutions choose their algorithm by batch
    size, so otherwise the last bits of an activation would depend on the size of its batch.
    """

    def __init__(self, below: Boundary, stages: nn.Sequential, batch_size: int) -> None:
        """Apply stages to a boundary.

        Args:
            below: provides the input of the stages.
            stages: in evaluation mode.
            batch_size: number of images that pass the stages together.
        """
        self.below = below
        self.stages = stages
        self.batch_size = batch_size

    @torch.no_grad()
    def __call__(self, indices: np.ndarray) -> torch.Tensor:
        """Shape (len(indices), channels, height, width), float32, channels last."""
        chunks = range(0, len(indices), self.batch_size)
        return torch.cat([self._chunk(indices[i : i + self.batch_size]) for i in chunks])

    def _chunk(self, indices: np.ndarray) -> torch.Tensor:
        filled = np.pad(indices, (0, self.batch_size - len(indices)), mode="edge")
        return self.stages(self.below(filled))[: len(indices)]


class Remembered:
    """A boundary that keeps results in memory, for small rows such as pooled features."""

    def __init__(self, source: Boundary) -> None:
        self.source = source
        self.rows: dict[int, torch.Tensor] = {}

    def __call__(self, indices: np.ndarray) -> torch.Tensor:
        """The activations of the source, equal to the bit."""
        missing = [index for index in indices.tolist() if index not in self.rows]
        if missing:
            self.rows |= zip(missing, self.source(np.array(missing)), strict=True)
        return torch.stack([self.rows[index] for index in indices.tolist()])


class Cached:
    """A boundary that keeps results in files, which all runs and processes share.

    Each view of an image has a row and a checksum. A row with a wrong checksum is computed, so the
    files fill up in any order, and damaged rows are repaired. Filling needs no lock, because two
    processes that compute the same row write the same bytes. Only rows that were requested take
    disk space.
    """

    def __init__(self, source: Boundary, path: Path, count: int, device: str) -> None:
        """Open the cached rows, or create the files once the first row has been computed.

        Args:
            source: computes rows that are not cached yet.
            path: `.npy` file of the rows; their checksums lie beside it.
            count: number of rows.
            device: device of the activations.
        """
        self.source = source
        self.path = path
        self.count = count
        self.device = device
        self.trusted = np.zeros(count, dtype=bool)
        self.impossible = False
        self.rows, self.checksums = self._open()

    def __call__(self, indices: np.ndarray) -> torch.Tensor:
        """Activations equal to the source's, shape (len(indices), channels, height, width)."""
        missing = np.array([index for index in np.unique(indices) if not self._has(index)])
        if len(missing) and not self._store(missing, self.source(missing)):
            return self.source(indices)
        # Rows are stored in channels-last order, which training uses.
        return torch.from_numpy(self.rows[indices]).to(self.device).permute(0, 3, 1, 2)

    def _has(self, index: int) -> bool:
        """Whether a row is cached and intact; each process checks a row once."""
        # A row without a checksum was never written, and reading it could allocate disk space.
        if not self.trusted[index] and len(self.rows) and self.checksums[index]:
            self.trusted[index] = self.checksums[index] == checksum(self.rows[index])
        return bool(self.trusted[index])

    def _store(self, indices: np.ndarray, activations: torch.Tensor) -> bool:
        """Write rows to the files, and say whether that succeeded."""
        values = np.ascontiguousarray(activations.permute(0, 2, 3, 1).cpu().numpy())
        if not len(self.rows) and not self.impossible:
            self._create(values.shape[1:])
            self.rows, self.checksums = self._open()
        if self.impossible or not len(self.rows):
            return False
        try:
            cache.reserve(self.path, self.rows, indices)
        except OSError as error:
            self._give_up(error)
            return False
        for index, row in zip(indices, values, strict=True):
            self.rows[index] = row
            self.checksums[index] = checksum(row)
            self.trusted[index] = True
        return True

    def _open(self) -> tuple[np.ndarray, np.ndarray]:
        """Map both files; empty arrays if one is missing or has the wrong size."""
        try:
            rows = cache.open_array(self.path, "r+")
            checksums = cache.open_array(checksums_path(self.path), "r+")
        except (OSError, EOFError, ValueError):
            return np.empty(0), np.empty(0)
        whole = len(rows) == len(checksums) == self.count
        return (rows, checksums) if whole else (np.empty(0), np.empty(0))

    def _create(self, shape: tuple[int, ...]) -> None:
        """Create both files, filled with zeros; on failure, cache nothing from then on."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_suffix(".lock")):
                if len(self._open()[0]):  # another process was first
                    return
                with (
                    new_array(checksums_path(self.path), np.uint32, (self.count,)),
                    new_array(self.path, np.float32, (self.count, *shape), sparse=True),
                ):
                    pass  # a checksum of zero marks a missing row
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.impossible = True
        print(f"Activations are computed again, not cached ({error.strerror}).", flush=True)


def frozen_boundary(
    pixels: Pixels, prefix: nn.Sequential, freeze: int, batch_size: int, cached: dict[int, Path]
) -> Boundary:
    """The boundary of a network whose stem and first `freeze` stages are frozen.

    Args:
        pixels: the images.
        prefix: convolution and batch norm of the stem, then one module per stage.
        freeze: number of frozen stages; 0 returns the images themselves.
        batch_size: number of images that pass the prefix together.
        cached: cache file per depth, for this depth and shallower ones. Activations are computed
            from those of the deepest shallower depth that has been cached.
    """
    boundary: Boundary = pixels
    rows = augment.MOST_VIEWS * len(pixels.images)
    start = 0
    for depth in range(1, freeze + 1):
        filled = depth in cached and cached[depth].is_file()
        if depth < freeze and not filled:
            continue
        boundary = Stages(boundary, prefix[start : depth + 2], batch_size)
        if depth in cached:
            boundary = Cached(boundary, cached[depth], rows, pixels.device)
        start = depth + 2
    return boundary


def images_below(boundary: Boundary) -> np.ndarray:
    """The images that a boundary starts from, shape (N, side, side, 3), uint8."""
    match boundary:
        case Pixels():
            return boundary.images
        case Stages():
            return images_below(boundary.below)
        case Cached() | Remembered():
            return images_below(boundary.source)
    raise TypeError(f"{type(boundary).__name__} does not start from images.")


def cached_depths(
    settings: Settings, dataset: "Dataset", rows: int, backbone: Backbone, stages: list[Stage]
) -> tuple[dict[int, Path], str]:
    """Cache files of activations per depth, and a sentence about caching in this run.

    The key of a file includes everything that can change a bit of an activation.

    Args:
        rows: number of images that the run uses, with all their views.
    """
    depth = settings.freeze
    if depth == 0:
        return {}, "Nothing is frozen, so there are no activations to cache."
    if not worth_caching(stages, depth):
        return {}, f"Activations of depth {depth} are computed again: that takes little time."
    decides = (
        code_fingerprint("activations"),
        *(dataset.fingerprint, settings.image_size, settings.resize, settings.background),
        version("pillow"),
        *(settings.backbone, backbone.fingerprint, backbone.mean, backbone.std),
        *(version("torch"), version("timm"), settings.device, settings.threads),
        *(settings.batch_size, "float32", "channels_last", computed_on(settings)),
    )
    files = {
        n: cache.keyed("prefix", f"{dataset.name}-{settings.backbone}-depth{n}", n, *decides)
        for n in range(1, depth + 1)
        if worth_caching(stages, n)
    }
    size = 4 * stages[depth].boundary_values * rows
    if not cache.make_room(files[depth], size, settings.cache_gb):
        return (
            {},
            f"Activations of depth {depth} are computed again: caching needs {size / 1e9:.1f} GB.",
        )
    return files, f"Activations of depth {depth} are cached on disk and shared by all runs."


def computed_on(settings: Settings) -> str:
    """A name that is equal for devices which compute equal bits."""
    if settings.device == "cuda":
        return torch.cuda.get_device_name()
    return processor.used(settings.instructions)
