"""Counts of parameters and arithmetic against what is known of the architectures."""

import itertools

import pytest
import torch

from effnet_core.model.backbones import build_network
from effnet_core.model.cost import stage_costs, worth_caching
from effnet_core.model.freezing import FrozenNetwork, count
from effnet_report.sweep.step_cost import step_costs


@pytest.mark.slow
def test_v2_l_at_480_as_published():
    # 56.1 GMAC forward an image and 118.5 M parameters, timm's results-imagenet and model card.
    with torch.device("meta"):
        network = build_network("tf_efficientnetv2_l")
        head = torch.nn.Linear(network.num_features, 2)
    stages = stage_costs(network, 480)
    assert [stage.name for stage in stages[1:-1]] == [f"stage {n}" for n in range(1, 8)]
    assert sum(stage.flop_share for stage in stages) == pytest.approx(1)
    classifier = 1280 * 1000 + 1000
    assert sum(s.parameters for s in stages) + classifier == pytest.approx(118.5e6, rel=1e-3)
    cost = step_costs(FrozenNetwork(network, head, 0), 480, 1)[0]
    assert cost.suffix_flop == pytest.approx(2 * 56.1e9, rel=5e-3)
    assert cost.prefix_flop == 0
    assert cost.flop == 3 * cost.suffix_flop


@pytest.mark.slow
def test_freezing_moves_work_to_the_prefix():
    with torch.device("meta"):
        network = build_network("tf_efficientnet_lite0")
        # Counted another way: each part without its normalisation, one image, no head.
        shares = [stage.flop_share for stage in stage_costs(network, 64)]
        head = torch.nn.Linear(network.num_features, 2)
    model = FrozenNetwork(network, head, 3)
    costs = step_costs(model, 64, 4)
    assert len(costs) == 7
    trained = count(model.trainable_parameters())
    assert [cost.trainable for cost in costs].index(trained) == 3
    for freeze, cost in enumerate(costs):
        share = cost.prefix_flop / (cost.prefix_flop + cost.suffix_flop)
        assert sum(shares[: freeze + 1] if freeze else []) == pytest.approx(share, rel=1e-3)
    forward = {cost.prefix_flop + cost.suffix_flop for cost in costs}
    assert len(forward) == 1
    for shallow, deep in itertools.pairwise(costs):
        assert deep.prefix_flop > shallow.prefix_flop
        assert deep.flop < shallow.flop
        assert deep.memory < shallow.memory
        assert deep.trainable <= shallow.trainable


def test_caching_behind_the_first_stage_saves_too_little():
    with torch.device("meta"):
        stages = stage_costs(build_network("tf_efficientnet_lite0"), 160)
    assert [worth_caching(stages, depth) for depth in range(1, 7)] == [False] + 5 * [True]
