import copy

import pytest
import torch
from timm.optim import param_groups_layer_decay
from torch import nn
from torch.nn.functional import cross_entropy

from effnet_core.errors import InputError
from effnet_core.model.backbones import load_backbone
from effnet_core.model.freezing import FrozenNetwork, count

LITE0 = "tf_efficientnet_lite0"
EVERY_FREEZE = range(7)


def lite0(drop_path=0.0):
    return load_backbone(LITE0, "none", drop_path=drop_path).network


def model(freeze, drop_path=0.0):
    return FrozenNetwork(lite0(drop_path), nn.Linear(1280, 3), freeze)


@pytest.fixture(scope="module")
def batch():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(4, 3, 32, 32, generator=generator), torch.tensor([0, 1, 2, 0])


def tensors(module):
    """A copy of every parameter and buffer."""
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def moved(before, module):
    return {n for n, tensor in module.state_dict().items() if not torch.equal(tensor, before[n])}


@pytest.mark.parametrize("freeze", EVERY_FREEZE)
def test_after_a_training_step_the_prefix_is_bit_identical_and_all_the_rest_moved(freeze, batch):
    network = model(freeze, drop_path=0.2)
    optimizer = torch.optim.Adam(network.trainable_parameters(), lr=1e-2)
    prefix, suffix = tensors(network.prefix), tensors(network.suffix)
    network.eval()
    network.train()
    images, labels = batch
    cross_entropy(network(images), labels).backward()
    optimizer.step()
    assert moved(prefix, network.prefix) == set()
    assert moved(suffix, network.suffix) == set(suffix)


@pytest.mark.parametrize("freeze", EVERY_FREEZE)
def test_the_stem_and_the_first_n_stages_are_frozen_and_nothing_else(freeze):
    network = lite0()
    frozen = [network.conv_stem, network.bn1, *network.blocks[:freeze]] if freeze else []
    expected = {id(p) for part in frozen for p in part.parameters()}
    everything = {id(p) for p in network.parameters()} - {
        id(p) for p in network.classifier.parameters()
    }
    cut = FrozenNetwork(network, head := nn.Linear(1280, 3), freeze)
    trained = {id(p) for p in cut.trainable_parameters()}
    assert {id(p) for p in cut.prefix.parameters()} == expected
    assert trained == (everything - expected) | {id(p) for p in head.parameters()}


@pytest.mark.parametrize("freeze", EVERY_FREEZE)
def test_frozen_parameters_get_no_gradient(freeze, batch):
    network = model(freeze)
    images, labels = batch
    cross_entropy(network(images), labels).backward()
    assert all(p.grad is None for p in network.prefix.parameters())
    assert all(p.grad is not None for p in network.suffix.parameters())


@pytest.mark.parametrize("freeze", EVERY_FREEZE)
def test_train_and_eval_set_the_mode_of_the_suffix_only(freeze):
    network = model(freeze)
    for mode in (True, False, True):
        network.train(mode)
        assert not any(module.training for module in network.prefix.modules())
        assert all(module.training == mode for module in network.suffix.modules())


def test_stochastic_depth_is_off_in_the_prefix_and_on_in_the_suffix(batch):
    network = model(5, drop_path=0.9)
    network.train()
    images, _ = batch
    boundary = network.prefix(images)
    assert torch.equal(network.prefix(images), boundary)
    assert not torch.equal(network.suffix(boundary), network.suffix(boundary))
    # Without freezing, those very stages would drop paths.
    network.prefix.train()
    assert not torch.equal(network.prefix(images), network.prefix(images))


@pytest.mark.parametrize("freeze", EVERY_FREEZE)
def test_cutting_does_not_change_what_the_network_computes(freeze, batch):
    network, head = lite0(), nn.Linear(1280, 3)
    whole = copy.deepcopy(network)
    whole.classifier = head
    whole.eval()
    cut = FrozenNetwork(network, head, freeze).eval()
    with torch.no_grad():
        assert torch.equal(cut(batch[0]), whole(batch[0]))


def test_the_deeper_the_freeze_the_fewer_parameters_train():
    counts = [count(model(freeze).trainable_parameters()) for freeze in EVERY_FREEZE]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == 7
    assert counts[0] == count(list(model(0).parameters()))


@pytest.mark.parametrize("freeze", [-1, 7])
def test_lite0_freezes_0_to_6_stages(freeze):
    with pytest.raises(InputError, match=rf"freeze = {freeze}: .*7 stages.*Use 0 to 6"):
        model(freeze)


def test_a_backbone_of_six_stages_freezes_at_most_five():
    network = load_backbone("tf_efficientnetv2_b0", "none").network
    with pytest.raises(InputError, match=r"freeze = 6: .*6 stages.*Use 0 to 5"):
        FrozenNetwork(network, nn.Linear(1280, 3), 6)


@pytest.mark.parametrize("freeze", [0, 5])
def test_kept_statistics_stay_to_the_bit_and_scale_and_shift_train(freeze, batch):
    network = FrozenNetwork(lite0(), nn.Linear(1280, 3), freeze, keep_statistics=True)
    optimizer = torch.optim.Adam(network.trainable_parameters(), lr=1e-2)
    before = tensors(network)
    network.eval()
    network.suffix.train()  # as an evaluation between two epochs sets the mode back
    images, labels = batch
    cross_entropy(network(images), labels).backward()
    optimizer.step()
    assert moved(before, network) == {f"suffix.{n}" for n, _ in network.suffix.named_parameters()}


@pytest.mark.parametrize("keep", [True, False])
def test_only_with_kept_statistics_an_image_does_not_depend_on_its_batch(keep, batch):
    network = FrozenNetwork(lite0(), nn.Linear(1280, 3), 0, keep_statistics=keep).train()
    images, _ = batch
    others = torch.cat([images[:1], images[1:] * 3 + 1])
    with torch.no_grad():
        one, two = network(images)[0], network(others)[0]
    assert torch.equal(one, two) is keep


@pytest.mark.parametrize("freeze", [0, 3, 6])
def test_layers_get_their_share_of_the_rate_as_in_timm(freeze):
    network, head = lite0(), nn.Linear(1280, 3)
    cut = FrozenNetwork(network, head, freeze)
    network.classifier = head
    timms = param_groups_layer_decay(network, weight_decay=0.0, layer_decay=0.7)
    expected = {id(p): group["lr_scale"] for group in timms for p in group["params"]}
    groups = cut.parameter_groups(0.1, 0.7)
    found = {id(p): group["scale"] for group in groups for p in group["params"]}
    assert found == pytest.approx(expected)
    assert all(group["lr"] == pytest.approx(0.1 * group["scale"]) for group in groups)
    (one,) = cut.parameter_groups(0.1)
    assert [id(p) for p in one["params"]] == [id(p) for p in cut.trainable_parameters()]
