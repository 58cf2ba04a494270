import dataclasses

import factories
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from effnet_core.data.datasets import load_dataset
from effnet_core.data.splits import across_official_test, split_dataset
from effnet_core.errors import InputError
from effnet_core.study.design import Settings


@pytest.fixture(scope="module")
def elpv():
    return load_dataset("elpv")


def split(dataset, first=None, **changes):
    return split_dataset(dataset, Settings(image_size=32, **changes), first)


def parts(found):
    return [found.train, found.validation, found.test]


def shares(labels, part):
    return np.bincount(labels[part]) / len(part)


def test_the_parts_of_elpv_have_the_published_sizes(elpv):
    found = split(elpv)
    # 656 test cells, as in Deitsch et al. (2019); the other 1,968 are split 3 : 1.
    assert [len(part) for part in parts(found)] == [1476, 492, 656]


def test_the_test_set_is_the_same_for_all_seeds_and_the_rest_is_not(elpv):
    found = [split(elpv, seed=seed) for seed in range(3)]
    assert all(np.array_equal(found[0].test, other.test) for other in found[1:])
    assert len({other.train.tobytes() for other in found}) == 3
    assert len({other.fingerprint for other in found}) == 3


def test_a_fixed_share_is_split_as_the_committed_records_were(elpv):
    # Their fingerprints of the split: seed 0 of elpv, and of quick.
    assert split(elpv).fingerprint.startswith("fa1c2c74f1a026ce")
    assert split(elpv, max_images=320).fingerprint.startswith("70e8cb3c15ba72a0")


@pytest.mark.parametrize("how", [{}, {"folds": 4}, {"train_images": 100}])
def test_the_same_seed_gives_the_same_split(elpv, how):
    one, two = (split(elpv, seed=5, **how) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(parts(one), parts(two), strict=True))
    assert one.fingerprint == two.fingerprint


def test_a_subset_is_the_same_for_all_seeds_and_keeps_the_shares(elpv):
    found = [split(elpv, seed=seed, max_images=320) for seed in range(2)]
    chosen = [np.sort(np.concatenate(parts(each))) for each in found]
    assert [len(part) for part in parts(found[0])] == [180, 60, 80]
    assert np.array_equal(*chosen)
    assert np.array_equal(found[0].test, found[1].test)
    whole = shares(elpv.labels, np.arange(len(elpv)))
    assert np.abs(shares(elpv.labels, chosen[0]) - whole).max() < 1 / 320


def test_as_many_images_as_there_are_is_all_of_them(elpv):
    assert split(elpv, max_images=len(elpv)).fingerprint == split(elpv).fingerprint


COUNTS = st.lists(st.integers(12, 60), min_size=2, max_size=5)
SEEDS = st.integers(0, 2**32 - 1)


@given(
    counts=COUNTS, seed=SEEDS, test_share=st.floats(0.2, 0.5), validation_share=st.floats(0.2, 0.5)
)
def test_parts_are_disjoint_complete_stratified_and_of_the_right_size(
    counts, seed, test_share, validation_share
):
    dataset = factories.dataset(counts)
    found = split(dataset, seed=seed, test_share=test_share, validation_share=validation_share)
    everything = np.concatenate(parts(found))
    assert np.array_equal(np.sort(everything), np.arange(len(dataset)))
    assert abs(len(found.test) - test_share * len(dataset)) <= 1
    rest = len(dataset) - len(found.test)
    assert abs(len(found.validation) - validation_share * rest) <= 1
    for part in parts(found):
        assert np.array_equal(part, np.sort(part))
        expected = np.array(counts) * len(part) / len(dataset)
        # Off by at most one image in each of the two cuts.
        assert np.abs(np.bincount(dataset.labels[part]) - expected).max() <= 2


@given(counts=COUNTS, first=st.integers(0, 10**6), folds=st.integers(2, 8))
def test_over_as_many_seeds_as_folds_every_image_is_a_test_image_once(counts, first, folds):
    dataset = factories.dataset(counts)
    found = [split(dataset, seed=seed, folds=folds) for seed in range(first, first + folds)]
    assert np.array_equal(
        np.sort(np.concatenate([each.test for each in found])), np.arange(len(dataset))
    )
    for each in found:
        everything = np.sort(np.concatenate(parts(each)))
        assert np.array_equal(everything, np.arange(len(dataset)))
        assert abs(len(each.test) - len(dataset) / folds) <= 1
        assert np.abs(np.bincount(dataset.labels[each.test]) - np.array(counts) / folds).max() <= 1
        rest = len(dataset) - len(each.test)
        assert abs(len(each.validation) - 0.25 * rest) <= 1


def test_a_seed_beyond_the_folds_tests_the_same_images_with_another_validation_set(elpv):
    found = [split(elpv, seed=seed, folds=4) for seed in (1, 5)]
    assert np.array_equal(found[0].test, found[1].test)
    assert not np.array_equal(found[0].validation, found[1].validation)


def test_the_folds_of_elpv_are_of_the_published_size_and_of_all_images(elpv):
    found = [split(elpv, seed=seed, folds=4) for seed in range(4)]
    assert [len(each.test) for each in found] == [656] * 4
    assert len(np.unique(np.concatenate([each.test for each in found]))) == len(elpv)


@pytest.mark.slow
@given(
    sizes=st.lists(st.integers(1, 4), min_size=60, max_size=70),
    seed=SEEDS,
    how=st.sampled_from(
        [{}, {"folds": 3}, {"test_share": 0.4, "validation_share": 0.3}, {"train_images": 20}]
    ),
)
def test_a_group_is_never_in_two_parts(sizes, seed, how):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    labels = groups % 2
    dataset = dataclasses.replace(factories.dataset(np.bincount(labels)), labels=labels)
    found = split(dataclasses.replace(dataset, groups=groups), seed=seed, **how)
    inside = [set(groups[part]) for part in parts(found)]
    assert sum(map(len, inside)) == len(set.union(*inside))
    used = np.concatenate(parts(found))
    assert len(np.unique(used)) == len(used)
    if "train_images" not in how:
        assert len(used) == len(dataset)
        wanted = 1 / 3 if "folds" in how else how.get("test_share", 0.25)
        # Groups of up to four images, two classes: the folds cannot be quite even.
        assert abs(len(found.test) - wanted * len(dataset)) <= 16


def test_folds_keep_groups_together_over_all_seeds():
    dataset = factories.dataset([60, 60])
    groups = np.arange(120) // 5
    labels = groups % 2
    grouped = dataclasses.replace(dataset, labels=labels, groups=groups)
    tested = [split(grouped, seed=seed, folds=4).test for seed in range(4)]
    assert np.array_equal(np.sort(np.concatenate(tested)), np.arange(120))
    assert sum(len(set(groups[test])) for test in tested) == 24


@given(
    counts=st.lists(st.integers(100, 200), min_size=2, max_size=4),
    seed=SEEDS,
    train=st.integers(8, 70),
    validation_share=st.floats(0.2, 0.5),
)
def test_each_seed_draws_as_many_training_images_as_it_is_told(
    counts, seed, train, validation_share
):
    dataset = factories.dataset(counts)
    wanted = train * validation_share / (1 - validation_share)
    assume(wanted > len(counts) + 1)
    found = split(dataset, seed=seed, train_images=train, validation_share=validation_share)
    assert len(found.train) == train
    assert abs(len(found.validation) - wanted) <= 0.5
    assert len(np.unique(np.concatenate(parts(found)))) == sum(map(len, parts(found)))
    assert np.array_equal(found.test, split(dataset, seed=seed + 1).test)
    expected = np.array(counts) * train / len(dataset)
    assert np.abs(np.bincount(dataset.labels[found.train]) - expected).max() <= 3


def test_official_test_images_are_the_test_set_of_every_seed():
    official = np.arange(100) % 3 == 0
    dataset = dataclasses.replace(factories.dataset([50, 50]), official_test=official)
    found = [split(dataset, seed=s, official_test=True, train_images=30) for s in range(4)]
    for each in found:
        assert np.array_equal(each.test, np.flatnonzero(official))
        assert not official[each.train].any()
        assert not official[each.validation].any()
        assert (len(each.train), len(each.validation)) == (30, 10)
    assert len({each.train.tobytes() for each in found}) == 4


@pytest.mark.parametrize("how", [{}, {"folds": 3}])
def test_copies_join_the_groups_that_they_are_in(how):
    labels = np.arange(120) // 2 % 2
    grouped = dataclasses.replace(
        factories.dataset([60, 60]), labels=labels, groups=10 * (np.arange(120) // 2)
    )
    first = np.arange(120)
    first[[5, 41]] = 0  # three groups of the first class share a picture
    for seed in range(3):
        found = split(grouped, first=first, seed=seed, **how)
        (part,) = [each for each in parts(found) if 0 in each]
        assert {0, 1, 4, 5, 40, 41} <= set(part)
        assert np.array_equal(np.sort(np.concatenate(parts(found))), np.arange(120))


def test_a_copy_of_an_official_test_image_is_not_trained_on():
    official = np.arange(100) >= 60
    dataset = dataclasses.replace(factories.dataset([50, 50]), official_test=official)
    first = np.arange(100)
    first[70] = 3  # the test set's has a copy among the others, which has the lower number
    found = split(dataset, first=first, official_test=True)
    assert np.array_equal(found.test, np.flatnonzero(official))
    assert sorted([*found.train, *found.validation, 3]) == list(range(60))


def test_a_data_set_without_official_test_images_is_told():
    with pytest.raises(InputError, match=r"official_test: data set made-up names no test set"):
        split(factories.dataset([20, 20]), official_test=True)


def test_more_training_images_than_there_are_is_told():
    with pytest.raises(InputError, match=r"train_images = 60 .* need 80 images, but only 75 are"):
        split(factories.dataset([50, 50]), train_images=60)


@pytest.mark.parametrize("few", [1, 2, 3])
def test_a_class_with_too_few_images_is_named(few):
    with pytest.raises(InputError, match=rf"Class 'class 1' has {few} images, too few.*Add images"):
        split(factories.dataset([40, few]))


@pytest.mark.parametrize("seed", range(3))
def test_a_class_with_fewer_images_than_folds_is_told_whatever_the_seed(seed):
    with pytest.raises(InputError, match=r"Class 'class 1' has 4 images.*one of 5 folds"):
        split(factories.dataset([40, 4]), folds=5, seed=seed)


def test_a_subset_too_small_for_its_classes_is_told(elpv):
    with pytest.raises(InputError, match="too few for a split"):
        split(elpv, max_images=4)


def grouped(groups, official=None):
    """Two classes that take turns, so that each group of two and more has both."""
    groups = np.asarray(groups)
    labels = np.arange(len(groups)) % 2
    dataset = factories.dataset(np.bincount(labels))
    return dataclasses.replace(dataset, labels=labels, groups=groups, official_test=official)


@pytest.mark.fault("groups on both sides")
def test_groups_on_both_sides_of_an_official_test_set_are_refused():
    dataset = grouped(np.arange(96) // 6, np.arange(96) % 6 < 2)
    assert len(across_official_test(dataset)) == 16
    with pytest.raises(InputError, match=r"official_test: 16 groups have images in and outside"):
        split(dataset, official_test=True)
    apart = grouped(np.arange(96) // 6, np.arange(96) < 24)
    found = split(apart, official_test=True)
    assert np.array_equal(found.test, np.arange(24))
    assert not set(apart.groups[found.train]) & set(apart.groups[found.validation])


@pytest.mark.fault("groups on both sides")
def test_a_group_that_shares_a_picture_with_the_official_test_set_is_not_trained_on():
    dataset = grouped(np.arange(96) // 4, np.arange(96) < 24)
    first = np.arange(96)
    first[30] = 2
    found = split(dataset, first=first, official_test=True)
    trained = {*found.train, *found.validation}
    assert not trained & {28, 29, 30, 31}
    assert len(trained) == 68


@pytest.mark.parametrize("count", [2, 3])
def test_too_few_groups_for_three_parts_are_told_as_such(count):
    with pytest.raises(
        InputError, match=rf"images of {count} groups, too few .*keeps groups whole"
    ):
        split(grouped(np.arange(96) % 6 * count // 6), seed=1)


def test_a_group_of_most_images_is_told():
    groups = np.where(np.arange(100) < 80, 0, np.arange(100))
    with pytest.raises(InputError, match=r"the group of 'image 0' has 80 of 100 images"):
        split(grouped(groups))
