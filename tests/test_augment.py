"""Which views of an image training shows, and when."""

import numpy as np
import pytest
import torch
from torchvision.transforms import v2

from effnet_core.data import augment

PICTURE = np.arange(5 * 5 * 3, dtype=np.uint8).reshape(1, 5, 5, 3)


def views_by_epoch(settings, images, epochs):
    rows = [augment.rows(images, epoch, 100, settings) for epoch in range(1, epochs + 1)]
    assert all(np.array_equal(row % 100, images) for row in rows)
    return np.array(rows) // 100


@pytest.mark.parametrize(
    ("level", "count"), [("none", 1), ("mirror", 2), ("flips", 4), ("flips_and_turns", 8)]
)
def test_each_image_goes_through_all_its_views(level, count, make_settings):
    settings = make_settings(augment=level, freeze=0)
    shown = views_by_epoch(settings, np.arange(100), 2 * count)
    assert all(sorted(of_image) == sorted([*range(count)] * 2) for of_image in shown.T)
    assert len(set(shown[0])) == count  # images do not go in step
    assert augment.views(settings) == count


@pytest.mark.parametrize("level", ["flips_and_turns", "random"])
def test_a_view_follows_from_seed_epoch_and_image_alone(level, make_settings):
    settings = make_settings(augment=level, freeze=0)
    shuffled = np.random.default_rng(0).permutation(100)[:40]
    whole, part = (views_by_epoch(settings, of, 3) for of in (np.arange(100), shuffled))
    assert np.array_equal(whole[:, shuffled], part)
    pictures = np.random.default_rng(1).integers(0, 256, (100, 8, 8, 3), dtype=np.uint8)
    row, seed = np.array([307]), settings.seed if level == "random" else None
    alone = augment.show(pictures, row, seed)
    assert np.array_equal(augment.show(pictures, np.array([1, 307, 205]), seed)[1:2], alone)
    if level == "random":
        assert not np.array_equal(augment.show(pictures, row, seed + 1), alone)
        assert not np.array_equal(augment.show(pictures, row + 100, seed), alone)
    else:
        other = make_settings(augment=level, freeze=0, seed=1)
        assert not np.array_equal(views_by_epoch(other, np.arange(100), 1), whole[:1])


def test_the_views_are_the_eight_symmetries_of_a_square():
    found = augment.show(PICTURE, np.arange(8))
    turned = [np.rot90(PICTURE[0], turns) for turns in range(4)]
    expected = [*turned, *(picture[:, ::-1] for picture in turned)]
    assert {view.tobytes() for view in found} == {view.tobytes() for view in expected}
    assert np.array_equal(found[0], PICTURE[0])
    assert np.array_equal(found[1], PICTURE[0, :, ::-1])
    assert {v.tobytes() for v in found[:4]} == {
        picture.tobytes()
        for picture in (PICTURE[0], PICTURE[0, ::-1], PICTURE[0, :, ::-1], PICTURE[0, ::-1, ::-1])
    }


def test_random_views_leave_random_numbers_and_validation_images_alone():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    found = augment.show(PICTURE, np.array([0, 3]), 7)
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(found[0], PICTURE[0])
    assert found[1].shape == PICTURE[0].shape
    assert not np.array_equal(found[1], PICTURE[0])


def test_random_views_are_those_of_torchvision():
    kinds = [type(step) for step in augment._transforms(8).transforms]
    assert kinds == [v2.RandomResizedCrop, v2.RandomHorizontalFlip, v2.ColorJitter]


def test_random_views_need_a_network_of_which_nothing_is_frozen(make_settings):
    with pytest.raises(ValueError, match="augment = random needs freeze = 0"):
        make_settings(augment="random", freeze=1)
