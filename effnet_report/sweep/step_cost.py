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


def step_costs(model: FrozenNetwork, image_size: int, batch_size: int) -> list[StepCost]:
    """Count one training step of a model, by the number of frozen stages it could have.

    The network is passed once, layer by layer, whatever it freezes itself. It is not changed.
    """
    shadow = copy.deepcopy(model).to("meta").requires_grad_()
    layers = [*shadow.prefix.train(), *shadow.suffix.train()]
    weights = {weight.untyped_storage()._cdata for weight in shadow.parameters()}
    # All tensors are kept, as the next storage could get the number of a freed one.
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    flop, saved = [], []
    values = torch.empty(batch_size, 3, image_size, image_size, device="meta")
    for layer in layers:
        before = len(kept)
        with (
            FlopCounterMode(display=False) as counter,
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        ):
            values = layer(values)
        flop.append(counter.get_total_flops())
        saved.append({one.untyped_storage()._cdata: one.nbytes for one in kept[before:]})
    stem, stages = 2, len(layers) - 6  # after the stages: convolution, norm, pooling, head
    parameters = [count(list(layer.parameters())) for layer in layers]
    costs = []
    for boundary in (0, *range(stem + 1, stem + stages)):
        trainable = sum(parameters[boundary:])
        # Operations can share a storage; the weights are counted already.
        storages = dict(item for storage in saved[boundary:] for item in storage.items())
        activations = sum(size for number, size in storages.items() if number not in weights)
        costs.append(
            StepCost(
                prefix_flop=sum(flop[:boundary]),
                suffix_flop=sum(flop[boundary:]),
                memory=4 * sum(parameters) + 3 * 4 * trainable + activations,
                trainable=trainable,
            )
        )
    return costs
