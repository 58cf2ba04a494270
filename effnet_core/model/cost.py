"""Parameters and arithmetic of a backbone, counted without computing anything.

Counts run on PyTorch's meta device, where tensors have shapes and no data. One
multiply-accumulate is two FLOP. Only convolutions and matrix products are counted; they make up
about 99 % of an EfficientNet's arithmetic.
"""

import copy
import math
from collections.abc import Sequence

import torch
from timm.models import EfficientNet
from torch import nn

from effnet_core.model.freezing import count
from effnet_core.study.schema import Stage


def stage_costs(network: EfficientNet, image_size: int) -> list[Stage]:
    """Count the stem, each stage and the final convolution, in the order of the forward pass.

    Args:
        network: not changed.
        image_size: side of the square input, pixels.
    """
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415  slow, for a training

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
    """The parts of a network in the order of the forward pass."""
    stages = {f"stage {n}": stage for n, stage in enumerate(network.blocks, start=1)}
    return {
        "stem": nn.Sequential(network.conv_stem, network.bn1),
        **stages,
        "final convolution": nn.Sequential(network.conv_head, network.bn2),
    }


def _without_data(network: EfficientNet) -> EfficientNet:
    """A copy on the meta device in evaluation mode, without normalisation.

    Counting the normalisation, which adds next to nothing, would take eight times as long as
    counting the rest.
    """
    tensors = [*network.parameters(), *network.buffers()]
    shapes = {id(tensor): torch.empty_like(tensor, device="meta") for tensor in tensors}
    copied = copy.deepcopy(network, shapes).eval()
    for module in list(copied.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, nn.Identity())
    return copied


# Caching the activations of a depth must save at least this share of a training step.
WORTH_KEEPING = 0.05


def worth_caching(stages: Sequence[Stage], depth: int) -> bool:
    """Whether caching the boundary at a depth saves enough time to be worth the disk space.

    With share p of the forward pass in the prefix, a step costs p + 3 (1 - p) forward passes,
    of which p is saved. The first stage of an EfficientNet has large activations and little
    arithmetic, so caching it is rarely worth it.

    Args:
        stages: the stem, the stages in order, and the final convolution.
        depth: number of frozen stages.
    """
    share = sum(stage.flop_share for stage in stages[: depth + 1])
    return share / (share + 3 * (1 - share)) >= WORTH_KEEPING
