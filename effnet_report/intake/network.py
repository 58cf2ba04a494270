"""Which network, weights and device a new study proposes."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from effnet_core.errors import InputError
from effnet_core.model.backbones import load_backbone
from effnet_report.sweep.plan import without_data

PACKAGED = "tf_efficientnet_lite0"
# On a GPU, from the most to the least accurate. Larger images than a network was pretrained on
# gain little, so that small images get a small network.
FROM_THE_HUB = (
    "tf_efficientnetv2_l.in21k_ft_in1k",
    "tf_efficientnetv2_m.in21k_ft_in1k",
    "tf_efficientnetv2_s.in21k_ft_in1k",
    "efficientnet_b4.ra2_in1k",
    "efficientnet_b3.ra2_in1k",
    "efficientnet_b2.ra_in1k",
    "efficientnet_b1.ft_in1k",
    "efficientnet_b0.ra_in1k",
)
ENLARGED = 1.25  # images are not enlarged by more
UNKNOWN_SIDE = 224  # pixels; timm has no pretrained weights of this name


@dataclass(frozen=True)
class Network:
    """A network to fine-tune.

    Attributes:
        weights: `packaged` or `hub`.
        device: `cpu` or `cuda`.
        why: the reason, in words.
    """

    backbone: str
    weights: str
    device: str
    why: str

    @property
    def side(self) -> int:
        """Pixels of a side of the images that it was pretrained on."""
        from timm import get_pretrained_cfg  # noqa: PLC0415  after `model.compiler`, for speed

        known = get_pretrained_cfg(self.backbone)
        return int(known.input_size[-1]) if known else UNKNOWN_SIDE

    @property
    def stages(self) -> int:
        """Stages that can be frozen, and the last one, which always trains."""
        return len(without_data(self.backbone).blocks)

    @property
    def settings(self) -> dict[str, str]:
        """The settings of a study; the CPU is the default device."""
        device = {} if self.device == "cpu" else {"device": self.device}
        return {"backbone": self.backbone, "weights": self.weights} | device

    def fetch(self) -> None:
        """Load the weights, as each run will.

        Raises:
            InputError: they are not here, and the hub is out of reach.
        """
        load_backbone(self.backbone, self.weights)


def networks(backbone: str | None, device: str | None, side: float) -> Iterator[Network]:
    """Networks to try in this order; the last one is always the packaged or the wanted one.

    Args:
        backbone: the only one wanted, if any.
        device: the one wanted, `cpu` or `cuda`; a GPU by default, if there is one.
        side: short side of the median image, pixels.

    Raises:
        InputError: there is no GPU, or timm has no such EfficientNet.
    """
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise InputError("--device cuda: PyTorch finds no GPU here. Leave --device out.")
    device = device or ("cuda" if there else "cpu")
    if backbone is not None:
        without_data(backbone)  # refuses a name that timm does not know
        weights = "packaged" if backbone == PACKAGED else "hub"
        yield Network(backbone, weights, device, "as asked for")
        return
    if device == "cuda":
        why = f"the largest for {side:.0f} pixels that the hours and this GPU allow"
        for name in FROM_THE_HUB:
            network = Network(name, "hub", device, why)
            if network.side <= side * ENLARGED:
                yield network
    yield Network(PACKAGED, "packaged", device, "EfficientNet-Lite0: small, and fast on a CPU")
