"""The activations at the frozen boundary: what the trained suffix sees of each image.

A boundary is called with rows: indices of images, or of their views for training (see
`data/augment.py`). It gives their activations. Three kinds are stacked:
`Pixels` normalises images, `Stages` puts frozen stages on top of another boundary, and `Cached`
remembers what another boundary gave, for every epoch and every run that asks for the same.
"""

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from filelock import FileLock
from torch import nn

from effnet_core import cache, processor
from effnet_core.cache import checksum, checksums_path, new_array
from effnet_core.data import augment
from effnet_core.data.datasets import Dataset
from effnet_core.model.backbones import Backbone
from effnet_core.model.cost import worth_caching
from effnet_core.study.code import code_fingerprint
from effnet_core.study.design import Settings
from effnet_core.study.schema import Stage

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
        """Bind images to the normalisation that the backbone's weights expect.

        Args:
            images: shape (N, side, side, 3), uint8.
            backbone: whose mean and standard deviation apply.
            device: where the activations go.
            random_seed: of random views, see `augment.show`.
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

    The stages always see exactly `batch_size` images: a shorter batch is filled up with
    copies of its last image, which are dropped again. Convolutions choose their algorithm by
    batch size, so without this the last bits of an activation would depend on its company.
    """

    def __init__(self, below: Boundary, stages: nn.Sequential, batch_size: int) -> None:
        """Put stages on a boundary.

        Args:
            below: gives what goes into the stages.
            stages: in evaluation mode.
            batch_size: images that go through the stages together.
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
    """A boundary that remembers in memory: for small rows, such as pooled features."""

    def __init__(self, source: Boundary) -> None:
        self.source = source
        self.rows: dict[int, torch.Tensor] = {}

    def __call__(self, indices: np.ndarray) -> torch.Tensor:
        """As the source gives them, to the bit."""
        missing = [index for index in indices.tolist() if index not in self.rows]
        if missing:
            self.rows |= zip(missing, self.source(np.array(missing)), strict=True)
        return torch.stack([self.rows[index] for index in indices.tolist()])


class Cached:
    """A boundary that remembers, in files that all runs and processes share.

    Each view of an image has a row, and beside it a checksum. A row whose checksum does not fit
    is computed (again): so the files fill, in whatever order runs ask, and so damage heals.
    Filling takes no lock: two processes that compute the same row write the same bytes. Only
    rows that were asked for take room on the disk.
    """

    def __init__(self, source: Boundary, path: Path, count: int, device: str) -> None:
        """Open what is cached, or start it when the first row has been computed.

        Args:
            source: computes what is not there yet.
            path: of the rows, `.npy`; their checksums lie beside it.
            count: number of rows.
            device: where the activations go.
        """
        self.source = source
        self.path = path
        self.count = count
        self.device = device
        self.trusted = np.zeros(count, dtype=bool)
        self.impossible = False
        self.rows, self.checksums = self._open()

    def __call__(self, indices: np.ndarray) -> torch.Tensor:
        """As the source gives them, to the bit; shape (len(indices), channels, height, width)."""
        missing = np.array([index for index in np.unique(indices) if not self._has(index)])
        if len(missing) and not self._store(missing, self.source(missing)):
            return self.source(indices)
        # A row is stored in the order of channels-last memory, which training computes in.
        return torch.from_numpy(self.rows[indices]).to(self.device).permute(0, 3, 1, 2)

    def _has(self, index: int) -> bool:
        """Whether a row is there and whole; a process checks each once."""
        # A row without a checksum was never written, and even to read it may take room on a disk.
        if not self.trusted[index] and len(self.rows) and self.checksums[index]:
            self.trusted[index] = self.checksums[index] == checksum(self.rows[index])
        return bool(self.trusted[index])

    def _store(self, indices: np.ndarray, activations: torch.Tensor) -> bool:
        """Write rows down; whether that could be done."""
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
        """The two files as memory; empty where they are missing or not what they should be."""
        try:
            rows = cache.open_array(self.path, "r+")
            checksums = cache.open_array(checksums_path(self.path), "r+")
        except (OSError, EOFError, ValueError):
            return np.empty(0), np.empty(0)
        whole = len(rows) == len(checksums) == self.count
        return (rows, checksums) if whole else (np.empty(0), np.empty(0))

    def _create(self, shape: tuple[int, ...]) -> None:
        """Make both files, of zeros; or say that it is impossible, and be asked no more."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path.with_suffix(".lock")):
                if len(self._open()[0]):  # another process was first
                    return
                with (
                    new_array(checksums_path(self.path), np.uint32, (self.count,)),
                    new_array(self.path, np.float32, (self.count, *shape), sparse=True),
                ):
                    pass  # zeros: every row is still missing
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self.impossible = True
        print(f"Activations are not cached but computed anew ({error.strerror}).", flush=True)


def frozen_boundary(
    pixels: Pixels, prefix: nn.Sequential, freeze: int, batch_size: int, cached: dict[int, Path]
) -> Boundary:
    """The boundary of a network whose stem and first `freeze` stages are frozen.

    Args:
        pixels: the images.
        prefix: convolution and batch norm of the stem, then one module a stage.
        freeze: 0 gives the images themselves.
        batch_size: images that go through the prefix together.
        cached: file by depth, for this depth and for shallower ones whose activations may be
            there already; a deeper one is then computed from the deepest of them.
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


def cached_depths(
    settings: Settings, dataset: Dataset, rows: int, backbone: Backbone, stages: list[Stage]
) -> tuple[dict[int, Path], str]:
    """The files in which activations are cached, by depth, and a word about this run's own.

    Whatever can change a bit of an activation is part of its file's key.

    Args:
        rows: images of the data set that the run uses, and their further views.
    """
    depth = settings.freeze
    if depth == 0:
        return {}, "Nothing is frozen, so there are no activations to cache."
    if not worth_caching(stages, depth):
        return {}, f"Activations of depth {depth} are computed anew: they cost little to compute."
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
        return {}, f"Activations of depth {depth} are computed anew: {size / 1e9:.1f} GB to cache."
    return files, f"Activations of depth {depth} are cached on disk and shared by all runs."


def computed_on(settings: Settings) -> str:
    """What computes the same bits: a kind of GPU, any processor, or one kind of processor."""
    if settings.device == "cuda":
        return torch.cuda.get_device_name()
    return processor.used(settings.instructions)
