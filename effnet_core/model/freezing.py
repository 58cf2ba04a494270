"""Cut a backbone at the frozen boundary: a prefix that stands still, a suffix that trains."""

from typing import Any

import torch
from timm.models import EfficientNet
from torch import nn

from effnet_core.errors import InputError


class Suffix(nn.Sequential):
    """Modules that train, in mixed precision where asked for.

    With bfloat16, convolutions and matrix products compute in it, and weights, gradients and
    the optimizer stay float32 (`torch.autocast`). Its range is that of float32, so the loss
    needs no scaling.

    Attributes:
        keep_statistics: whether batch norm normalises with its running statistics in training
            too, and leaves them as they are. Its scale and shift train.
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

    Frozen means four things at once: no gradient, not in the optimizer, batch-norm statistics
    still, stochastic depth off. The last two hang on the mode, which `train()` would reset, so
    `train()` leaves the prefix in evaluation mode. Then the prefix is a pure function of the
    image, and its output can be computed once and kept (see `prefix.py`).

    Attributes:
        prefix: the stem and the first n stages; empty for n = 0.
        suffix: everything that trains: the remaining stages, the final convolution, the head.
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
        """Take the parts of a network, which is not copied, and put another head on them.

        Args:
            network: its own classifier is left out.
            head: from pooled features to logits.
            freeze: number n of frozen stages, 0..(stages - 1). 0 freezes nothing, not the
                stem either. The last stage always trains.
            precision: of the suffix.
            keep_statistics: of batch norm in the suffix, see `Suffix`.

        Raises:
            InputError: the backbone has too few stages.
        """
        super().__init__()
        stages = list(network.blocks)
        if not 0 <= freeze < len(stages):
            raise InputError(
                f"freeze = {freeze}: this backbone has {len(stages)} stages and the last always "
                f"trains, so freeze is 0..{len(stages) - 1}."
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
        """What the optimizer gets."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def parameter_groups(self, rate: float, layer_decay: float = 1.0) -> list[dict[str, Any]]:
        """What the optimizer gets: parameters, and which share (`scale`) of the rate they get.

        The head trains at the full rate, each layer below at `layer_decay` times that of the
        layer above it. Layers are as in timm's `param_groups_layer_decay`: the stem, every block
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
        """What trains, from the images on; a normalisation belongs to the layer before it."""
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
