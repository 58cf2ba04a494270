"""Our routes through a convolution against PyTorch's own, and what may not change with them."""

import copy

import pytest
import torch
from torch import nn

from effnet_core.model.backbones import build_network
from effnet_core.model.convolutions import SMALL, Depthwise, move_to_device

BATCH = 4
# Of the largest value: V2-L sums up to 3,840 products, in single precision.
CLOSE = 1e-5
# Sides of the image: those of the studies, and for V2-L one whose maps are small.
NETWORKS = [("tf_efficientnet_lite0", 96), ("tf_efficientnet_lite0", 160)]
NETWORKS += [("tf_efficientnetv2_l", 64)]


def rerouted(network: nn.Module, side: int) -> list[tuple[str, torch.Size]]:
    """Pointwise and 5 x 5 convolutions and what goes into them, each kind once."""
    found = {}

    def note(name):
        def hook(module, inputs, output):
            shape = inputs[0].shape
            kind = (module.weight.shape, module.stride, module.bias is None, shape)
            found.setdefault(kind, (name, shape))

        return hook

    hooks = [
        module.register_forward_hook(note(name))
        for name, module in network.named_modules()
        if isinstance(module, nn.Conv2d) and module.kernel_size in ((1, 1), (5, 5))
    ]
    network(torch.empty(BATCH, 3, side, side, device="meta"))
    for hook in hooks:
        hook.remove()
    return list(found.values())


def outcome(layer, images, gradient):
    """Output, and gradients of images and parameters."""
    images = images.clone().requires_grad_()
    output = layer(images)
    return [output, *torch.autograd.grad(output, [images, *layer.parameters()], gradient)]


@pytest.fixture
def one_thread():
    """With more of them PyTorch goes other ways."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "side"), NETWORKS)
def test_every_shape_gives_what_pytorch_gives(one_thread, name, side):
    with torch.device("meta"):
        network = build_network(name)
    shapes = rerouted(network, side)
    assert len(shapes) > 15
    rng = torch.Generator().manual_seed(0)
    kinds = set()
    for path, shape in shapes:
        layer = nn.Sequential(network.get_submodule(path)).to_empty(device="cpu")
        for parameter in layer.parameters():
            nn.init.normal_(parameter, generator=rng)
        theirs = copy.deepcopy(layer).to(memory_format=torch.channels_last)
        move_to_device(layer, "cpu")
        kinds.add(type(layer[0]))
        images = torch.randn(shape, generator=rng).contiguous(memory_format=torch.channels_last)
        gradient = torch.randn(theirs(images).shape, generator=rng)
        gradient = gradient.contiguous(memory_format=torch.channels_last)
        expected = outcome(theirs, images, gradient)
        for found, wanted in zip(outcome(layer, images, gradient), expected, strict=True):
            assert found.shape == wanted.shape
            assert (found - wanted).abs().max() <= CLOSE * wanted.abs().max(), (path, shape)
    assert (Depthwise in kinds) == ("lite0" in name)  # V2-L has no 5 x 5


@pytest.mark.parametrize("side", [1, 2, 3, SMALL, SMALL + 1, 2 * SMALL, 2 * SMALL + 1])
@pytest.mark.parametrize("stride", [1, 2])
def test_small_and_large_maps_of_any_side(one_thread, side, stride):
    network = build_network("tf_efficientnet_lite0")
    path = {1: "blocks.4.1.conv_dw", 2: "blocks.5.0.conv_dw"}[stride]
    theirs = network.get_submodule(path)
    ours = nn.Sequential(copy.deepcopy(theirs))
    move_to_device(ours, "cpu")
    images = torch.randn(2, theirs.in_channels, side, side + 1)
    gradient = torch.randn(theirs(images).shape)
    expected = outcome(theirs, images, gradient)
    for found, wanted in zip(outcome(ours, images, gradient), expected, strict=True):
        assert (found - wanted).abs().max() <= CLOSE * wanted.abs().max()


def test_names_shapes_and_number_of_parameters_stay():
    network = build_network("tf_efficientnet_lite0")
    before = {name: value.clone() for name, value in network.state_dict().items()}
    move_to_device(network, "cpu")
    after = network.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    network.load_state_dict(before)


def test_a_gpu_goes_its_own_way():
    network = build_network("tf_efficientnet_lite0")
    move_to_device(network, "meta")
    assert not any(isinstance(module, Depthwise) for module in network.modules())
    assert {m.dilation for m in network.modules() if isinstance(m, nn.Conv2d)} == {(1, 1)}


def test_pointwise_convolutions_go_to_onednn(one_thread):
    network = nn.Sequential(nn.Conv2d(8, 16, 1))
    images = torch.randn(BATCH, 8, 6, 6).contiguous(memory_format=torch.channels_last)

    def routines(module):
        with torch.profiler.profile() as profiler:
            module(images).sum().backward()
        return {event.key for event in profiler.key_averages()}

    assert "aten::mkldnn_convolution" not in routines(network)
    move_to_device(network, "cpu")
    assert "aten::mkldnn_convolution" in routines(network)
