"""Which size of a study is taken, from its time and its expected interval."""

import math
from dataclasses import replace

from effnet_report.intake.network import PACKAGED, Network
from effnet_report.intake.options import WIDER, Option, best, depths, tiers

LARGE = Network("tf_efficientnetv2_s.in21k_ft_in1k", "hub", "cuda", "")
ANY = Option((0, 3, 6), 5, 96, 8, 0, half_width=3.0, hours=0.5)


def test_all_images_come_before_more_seeds_and_one_seed_comes_last():
    several, few, alone = (
        [replace(ANY, seeds=2, half_width=9.0, hours=0.6)],
        [replace(ANY, seeds=9, images=640, half_width=2.0, hours=0.2)],
        [replace(ANY, seeds=1, half_width=math.inf, hours=0.1)],
    )
    weighed = [several, few, alone]
    assert [best(weighed, hours).seeds for hours in (0.6, 0.5, 0.1)] == [2, 9, 1]


def test_if_nothing_fits_the_fastest_is_taken():
    slow = [replace(ANY, hours=hours) for hours in (3.0, 2.0)]
    assert best([slow, []], 1.0).hours == 2.0


def test_larger_images_and_more_depths_may_widen_the_interval_by_a_quarter():
    narrow = replace(ANY, seeds=10, image_size=64, half_width=2.0)
    large = replace(ANY, image_size=160, half_width=2.0 * WIDER)
    deeper = replace(large, depths=(0, 3, 5, 6))
    wide = replace(ANY, image_size=224, half_width=2.0 * WIDER + 0.1)
    assert best([[narrow, large, wide]], 1.0) == large
    assert best([[narrow, large, wide, deeper]], 1.0) == deeper
    assert best([[narrow, large, replace(large, half_width=2.4)]], 1.0).half_width == 2.4
    short = replace(wide, epochs=5, half_width=2.0)
    assert best([[narrow, large, short]], 1.0) == large


def test_images_are_not_enlarged_and_few_of_them_train_for_more_epochs():
    packaged = Network(PACKAGED, "packaged", "cpu", "")
    few, many = tiers(85, 108, packaged), tiers(300, 5000, packaged)
    assert {option.image_size for tier in few for option in tier} == {64, 96}
    assert max(option.image_size for option in many[0]) == 224
    assert max(option.epochs for option in few[0]) > max(option.epochs for option in many[0]) == 8
    assert {option.images for option in few[0]} == {0}
    assert [{o.images for o in tier} for tier in many[1:5]] == [{2000}, {1000}, {640}, {320}]
    assert {option.seeds for option in many[-1]} == {1}


def test_sizes_and_depths_are_those_of_the_network():
    assert LARGE.stages == 6
    assert depths(6) == [(0, 1, 2, 3, 4, 5), (0, 3, 4, 5), (0, 3, 5)]
    assert depths(7) == [(0, 1, 2, 3, 4, 5, 6), (0, 3, 5, 6), (0, 3, 6)]
    sizes = {option.image_size for option in tiers(1000, 5000, LARGE)[0]}
    assert max(sizes) == 288 < LARGE.side
