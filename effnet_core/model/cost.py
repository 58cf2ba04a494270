"""What a backbone costs: parameters and arithmetic, counted without computing anything.

Counts run on PyTorch's meta device, where tensors have shapes and no data. One
multiply-accumulate is two FLOP; only convolutions and matrix products are counted, which is
all but about a per cent of an EfficientNet's arithmetic.
"""

import copy
import math
from collections.abc import Sequence

import torch
from timm.models import EfficientNet
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from effnet_core.model.freezing import count
from effnet_core.study.schema import Stage


def stage_costs(network: EfficientNet, image_size: int) -> list[Stage]:
    """The stem, each stage and the final convolution, in the order that data passes them.

    Args:
        network: it is left alone.
        image_size: side of the square input, pixels.
    """
    data = torch.empty(1, 3, image_size, image_size, device="meta")
    flop: dict[str, int] = {}
    boundary: dict[str, int] = {}
    for name, part in _parts(_without_data(network)).items():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            data = part(data)
        flop[name] = counter.get_total_flops()
        boundary[name] = math.prod(data.shape)
    total = sum(flop.values())
    return [
        Stage(
            name=name,
            parameters=count(list(part.parameters())),
            flop_share=flop[name] / total,
            boundary_values=boundary[name],
        )
        for name, part in _parts(network).items()
    ]


def _parts(network: EfficientNet) -> dict[str, nn.Module]:
    """In the order that data passes them."""
    stages = {f"stage {n}": stage for n, stage in enumerate(network.blocks, start=1)}
    return {
        "stem": nn.Sequential(network.conv_stem, network.bn1),
        **stages,
        "final convolution": nn.Sequential(network.conv_head, network.bn2),
    }


def _without_data(network: EfficientNet) -> EfficientNet:
    """What is counted of it, on the meta device: no normalisation, and nothing at random.

    The counter would take normalisation apart, for eight times as long as all else takes.
    """
    tensors = [*network.parameters(), *network.buffers()]
    shapes = {id(tensor): torch.empty_like(tensor, device="meta") for tensor in tensors}
    copied = copy.deepcopy(network, shapes).eval()
    for module in list(copied.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return copied


# Keeping the activations of a depth must save at least this share of a training step.
WORTH_KEEPING = 0.05


def worth_caching(stages: Sequence[Stage], depth: int) -> bool:
    """Whether reading the boundary at a depth, instead of computing it, is worth the disk.

    With share p of the forward pass in the prefix, a step costs p + 3 (1 - p) forward passes,
    of which p is saved. The first stage of an EfficientNet has large activations and little
    arithmetic, so it hardly ever is.

    Args:
        stages: the stem, the stages in order, and what follows.
        depth: number of frozen stages.
    """
    share = sum(stage.flop_share for stage in stages[: depth + 1])
    return share / (share + 3 * (1 - share)) >= WORTH_KEEPING
