import pytest
import torch

from effnet_core.model.heads import build_head


def weights(head):
    return torch.cat([parameter.detach().flatten() for parameter in head.parameters()])


@pytest.mark.parametrize("kind", ["none", "mlp"])
def test_a_head_leads_from_features_to_classes(make_settings, kind):
    head = build_head(make_settings(head=kind), features=20, classes=3)
    assert head(torch.zeros(4, 20)).shape == (4, 3)


def test_none_is_one_linear_layer_and_mlp_is_two(make_settings):
    none = build_head(make_settings(head="none"), 20, 3)
    mlp = build_head(make_settings(head="mlp", hidden_width=8, dropout=0.4), 20, 3)
    assert [tuple(p.shape) for p in none.parameters()] == [(3, 20), (3,)]
    assert [tuple(p.shape) for p in mlp.parameters()] == [(8, 20), (8,), (3, 8), (3,)]
    assert [m.p for m in mlp.modules() if isinstance(m, torch.nn.Dropout)] == [0.4, 0.4]


@pytest.mark.parametrize("kind", ["none", "mlp"])
def test_the_seed_alone_decides_the_weights(make_settings, kind):
    first = weights(build_head(make_settings(head=kind, seed=1), 20, 3))
    torch.rand(7)
    again = weights(build_head(make_settings(head=kind, seed=1, freeze=5), 20, 3))
    other = weights(build_head(make_settings(head=kind, seed=2), 20, 3))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_building_a_head_leaves_the_random_stream_alone(make_settings):
    before = torch.random.get_rng_state()
    build_head(make_settings(head="mlp"), 20, 3)
    assert torch.equal(before, torch.random.get_rng_state())


def test_dropout_acts_in_training_only(make_settings):
    head = build_head(make_settings(head="mlp", dropout=0.5), 20, 3)
    images = torch.ones(4, 20)
    assert not torch.equal(head(images), head(images))
    head.eval()
    assert torch.equal(head(images), head(images))
