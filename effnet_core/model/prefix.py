"""The activations at the frozen boundary: what the trained suffix sees of each image."""

import numpy as np
import torch
from torch import nn

from effnet_core.model.backbones import Backbone


class Boundary:
    """Boundary activations by image index.

    The prefix always sees exactly `batch_size` images: a shorter batch is filled up with
    copies of its last image, which are dropped again. Convolutions choose their algorithm by
    batch size, so without this the last bits of an activation would depend on its company.
    """

    def __init__(
        self, prefix: nn.Module, images: np.ndarray, normalise: "Normalise", batch_size: int
    ) -> None:
        """Args:
        prefix: in evaluation mode; empty when nothing is frozen.
        images: shape (N, side, side, 3), uint8.
        batch_size: images that go through the prefix together.
        """
        self.prefix = prefix
        self.images = images
        self.normalise = normalise
        self.batch_size = batch_size

    @torch.no_grad()
    def __call__(self, indices: np.ndarray) -> torch.Tensor:
        """Activations of some images, shape (len(indices), channels, height, width)."""
        if not len(self.prefix):
            return self.normalise(self.images[indices])
        chunks = range(0, len(indices), self.batch_size)
        return torch.cat([self._chunk(indices[i : i + self.batch_size]) for i in chunks])

    def _chunk(self, indices: np.ndarray) -> torch.Tensor:
        filled = np.pad(indices, (0, self.batch_size - len(indices)), mode="edge")
        return self.prefix(self.normalise(self.images[filled]))[: len(indices)]


class Normalise:
    """uint8 pixels to the numbers that the backbone's weights expect."""

    def __init__(self, backbone: Backbone, device: str) -> None:
        self.device = device
        self.mean = torch.tensor(backbone.mean, device=device).view(1, 3, 1, 1) * 255
        self.std = torch.tensor(backbone.std, device=device).view(1, 3, 1, 1) * 255

    def __call__(self, pixels: np.ndarray) -> torch.Tensor:
        """Shape (batch, side, side, 3), uint8, to (batch, 3, side, side), float32, channels last."""
        images = torch.from_numpy(np.ascontiguousarray(pixels)).to(self.device)
        return (images.permute(0, 3, 1, 2).float() - self.mean) / self.std
