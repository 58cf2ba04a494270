"""Arithmetic and memory of a training step, counted without computing anything."""

import copy
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from effnet_core.model.freezing import FrozenNetwork, count


@dataclass(frozen=True)
class StepCost:
    """One training step on one batch.

    Attributes:
        prefix_flop: FLOP of the forward pass through the frozen prefix.
        suffix_flop: FLOP of the forward pass through the suffix.
        memory: bytes of weights, gradients, Adam's two moments and the activations that the
            backward pass needs, without libraries and process.
        trainable: number of trainable parameters.
    """

    prefix_flop: int
    suffix_flop: int
    memory: int
    trainable: int

    @property
    def flop(self) -> int:
        """FLOP of a step; each of the two gradients costs as much as the forward pass."""
        return self.prefix_flop + 3 * self.suffix_flop


def step_cost(model: FrozenNetwork, image_size: int, batch_size: int) -> StepCost:
    """Count one training step of a model, without changing the model."""
    shadow = copy.deepcopy(model).to("meta")
    shadow.train()
    images = torch.empty(batch_size, 3, image_size, image_size, device="meta")
    saved: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        saved.append(tensor)
        return tensor

    with FlopCounterMode(display=False) as counter, torch.no_grad():
        boundary = shadow.prefix(images)
    prefix = counter.get_total_flops()
    with (
        FlopCounterMode(display=False) as counter,
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
    ):
        shadow.suffix(boundary)
    suffix = counter.get_total_flops()
    trainable = count(shadow.trainable_parameters())
    parameters = list(shadow.parameters())
    # Operations can share a storage; the weights are counted already.
    storages = {tensor.untyped_storage()._cdata: tensor.nbytes for tensor in saved}
    for parameter in parameters:
        storages.pop(parameter.untyped_storage()._cdata, None)
    return StepCost(
        prefix_flop=prefix,
        suffix_flop=suffix,
        memory=4 * count(parameters) + 3 * 4 * trainable + sum(storages.values()),
        trainable=trainable,
    )
