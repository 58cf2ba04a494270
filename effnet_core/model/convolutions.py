"""Faster implementations of convolutions on a CPU than those that PyTorch chooses.

Results differ from PyTorch's in the last bits only; names and shapes of all parameters stay. All
convolutions then run in oneDNN, which computes the same bits on every processor with the required
instructions. MKL's matrix product does not.
"""

from typing import Any

import torch
from timm.layers import Conv2dSame
from timm.layers.padding import pad_same
from torch import nn
from torch.amp import custom_bwd, custom_fwd
from torch.nn.functional import conv2d, pad

# Largest side of an output, in pixels, for which sums are faster than oneDNN's weight gradient.
SMALL = 5


def move_to_device(network: nn.Module, device: str) -> None:
    """Move a network to a device in channels-last memory; on a CPU, replace slow convolutions."""
    network.to(device).to(memory_format=torch.channels_last)
    if device != "cpu":
        return
    for parent in list(network.modules()):
        for name, module in parent.named_children():
            if not isinstance(module, nn.Conv2d):
                continue
            if module.kernel_size == (1, 1):
                # With one thread and a batch under 16, PyTorch runs a pointwise convolution in
                # MKL unless it is dilated. Dilating one pixel changes nothing.
                module.dilation = (2, 2)
            elif module.kernel_size == (5, 5) and module.groups == module.in_channels:
                setattr(parent, name, Depthwise(module))


class Depthwise(nn.Module):
    """A depthwise 5 x 5 convolution with a fast weight gradient on small maps.

    oneDNN computes gradients between all pairs of channels in a block and uses only the diagonal,
    or one matrix product per channel. Both take up to five times as long as 25 sums.
    """

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight = convolution.weight
        self.stride = convolution.stride
        # Both kinds of padding keep the size of the map, up to the stride.
        self.same = isinstance(convolution, Conv2dSame)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Shape (batch, channels, height, width), the last two divided by the stride."""
        small = max(maps.shape[-2:]) <= SMALL * self.stride[0]
        if not (small or self.same):
            return conv2d(maps, self.weight, None, self.stride, 2, 1, len(self.weight))
        padded = pad_same(maps, [5, 5], list(self.stride)) if self.same else pad(maps, (2, 2, 2, 2))
        if small:
            return _SmallMaps.apply(padded, self.weight, self.stride)
        return conv2d(padded, self.weight, None, self.stride, 0, 1, len(self.weight))


class _SmallMaps(torch.autograd.Function):
    """A depthwise convolution of padded maps, with the weight gradient as 25 sums."""

    @staticmethod
    @custom_fwd(device_type="cpu", cast_inputs=torch.float32)
    def forward(
        ctx: Any, maps: torch.Tensor, weight: torch.Tensor, stride: tuple[int, int]
    ) -> torch.Tensor:
        ctx.save_for_backward(maps, weight)
        ctx.stride = stride
        return conv2d(maps, weight, stride=stride, groups=len(weight))

    @staticmethod
    @custom_bwd(device_type="cpu")
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        maps, weight = ctx.saved_tensors
        needed = (True, False, False)  # of maps, weight and bias
        of_maps, _, _ = torch.ops.aten.convolution_backward(
            *(gradient, maps, weight, None, ctx.stride, (0, 0), (1, 1), False, (0, 0)),
            *(len(weight), needed),
        )
        return of_maps, _weight_gradient(maps, gradient, weight, ctx.stride), None


def _weight_gradient(
    maps: torch.Tensor, gradient: torch.Tensor, weight: torch.Tensor, stride: tuple[int, int]
) -> torch.Tensor:
    """For each weight, the sum over all positions of its input times the output gradient."""
    height, width = gradient.shape[-2:]
    down, right = stride
    (channels, _, rows, columns) = weight.shape
    sums = weight.new_empty(rows, columns, channels)
    maps, gradient = maps.permute(0, 2, 3, 1), gradient.permute(0, 2, 3, 1)
    for row in range(rows):
        for column in range(columns):
            seen = maps[
                :, row : row + height * down : down, column : column + width * right : right
            ]
            torch.sum(seen * gradient, dim=(0, 1, 2), out=sums[row, column])
    return sums.permute(2, 0, 1).unsqueeze(1)
