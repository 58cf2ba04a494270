"""Divide a backbone at the frozen boundary into a frozen prefix and a trained suffix."""

from typing import Any

import torch
from timm.models import EfficientNet
from torch import nn

from effnet_core.errors import InputError


class Suffix(nn.Sequential):
    """The trained modules, in mixed precision if requested.

    With bfloat16, convolutions and matrix products are computed in bfloat16; weights, gradients
    and the optimizer stay in float32 (`torch.autocast`). bfloat16 has the range of float32, so the
    loss needs no scaling.

    Attributes:
        keep_statistics: whether batch norm uses its running statistics in training too and does
            not update them. Its scale and shift still train.
    """

    def __init__(
        self, *modules: nn.Module, precision: torch.dtype, keep_statistics: bool = False
    ) -> None:
        super().__init__(*modules)
        self.precision = precision
        self.keep_statistics = keep_statistics

    def train(self, mode: bool = True) -> "Suffix":
        super().train(mode)
        if self.keep_statistics:
            for module in self.modules():
                if isinstance(module, nn.BatchNorm2d):
                    module.eval()
        return self

    def forward(self, boundary: torch.Tensor) -> torch.Tensor:
        """Logits, float32, shape (batch, classes)."""
        if self.precision == torch.float32:
            return super().forward(boundary)
        with torch.autocast(boundary.device.type, self.precision):
            return super().forward(boundary).float()


class FrozenNetwork(nn.Module):
    """An EfficientNet whose stem and first n stages are frozen.

    Frozen means four things: no gradients, no parameters in the optimizer, constant batch-norm
    statistics, no stochastic depth. The last two depend on the mode, so `train()` leaves the
    prefix in evaluation mode. The output of the prefix then depends on the image alone and can be
    cached (see `prefix.py`).

    Attributes:
        prefix: the stem and the first n stages; empty for n = 0.
        suffix: the trained rest: the other stages, the final convolution and the head.
    """

    def __init__(
        self,
        network: EfficientNet,
        head: nn.Module,
        freeze: int,
        precision: torch.dtype = torch.float32,
        *,
        keep_statistics: bool = False,
    ) -> None:
        """Take over the parts of a network, without copying them, and add a new head.

        Args:
            network: its own classifier is not used.
            head: from pooled features to logits.
            freeze: number n of frozen stages, 0..(stages - 1). With 0 the stem trains too. The
                last stage always trains.
            precision: of computations in the suffix.
            keep_statistics: see `Suffix`.

        Raises:
            InputError: the backbone has too few stages.
        """
        super().__init__()
        stages = list(network.blocks)
        if not 0 <= freeze < len(stages):
            raise InputError(
                f"freeze = {freeze}: this backbone has {len(stages)} stages, and the last one "
                f"always trains. Use 0 to {len(stages) - 1}."
            )
        stem = [network.conv_stem, network.bn1]
        frozen = [*stem, *stages[:freeze]] if freeze else []
        trained = stages[freeze:] if freeze else [*stem, *stages]
        self.prefix = nn.Sequential(*frozen)
        self.suffix = Suffix(
            *(*trained, network.conv_head, network.bn2, network.global_pool, head),
            precision=precision,
            keep_statistics=keep_statistics,
        )
        self.prefix.requires_grad_(False)
        self.train()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits, shape (batch, classes), of normalised images, shape (batch, 3, side, side)."""
        with torch.no_grad():
            boundary = self.prefix(images)
        return self.suffix(boundary)

    def train(self, mode: bool = True) -> "FrozenNetwork":
        super().train(mode)
        self.prefix.eval()
        return self

    def trainable_parameters(self) -> list[nn.Parameter]:
        """The parameters that the optimizer updates."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def parameter_groups(self, rate: float, layer_decay: float = 1.0) -> list[dict[str, Any]]:
        """Parameter groups for the optimizer, with their share (`scale`) of the learning rate.

        The head trains at the full rate, each layer at `layer_decay` times the rate of the layer
        above it. Layers are those of timm's `param_groups_layer_decay`: the stem, every block
        (the last one with the final convolution), the head.
        """
        layers = self._layers()
        groups: dict[float, list[nn.Parameter]] = {}
        for number, layer in enumerate(layers, start=1):
            scale = layer_decay ** (len(layers) - number)
            groups.setdefault(scale, []).extend(
                parameter for module in layer for parameter in module.parameters()
            )
        return [{"params": g, "lr": rate * scale, "scale": scale} for scale, g in groups.items()]

    def _layers(self) -> list[list[nn.Module]]:
        """Trained layers in forward order; a normalisation belongs to the layer before it."""
        *parts, convolution, norm, _, head = self.suffix
        layers: list[list[nn.Module]] = []
        for part in parts:
            if isinstance(part, nn.Sequential):  # a stage
                layers += [[block] for block in part]
            elif isinstance(part, nn.BatchNorm2d):
                layers[-1].append(part)
            else:
                layers.append([part])
        layers[-1] += [convolution, norm]
        return [*layers, [head]]


def count(parameters: list[nn.Parameter]) -> int:
    """Number of scalars in a list of parameters."""
    return sum(parameter.numel() for parameter in parameters)
