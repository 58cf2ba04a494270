import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from effnet_core.data.datasets import load_dataset
from effnet_core.data.splits import split
from effnet_core.errors import InputError


@pytest.fixture(scope="module")
def elpv():
    return load_dataset("elpv")


def parts(found):
    return [found.train, found.validation, found.test]


def shares(labels, part):
    return np.bincount(labels[part]) / len(part)


def test_the_parts_of_elpv_have_the_published_sizes(elpv):
    found = split(elpv.labels, elpv.classes, seed=0)
    # 656 test cells, as in Deitsch et al. (2019); the other 1,968 are split 3 : 1.
    assert [len(part) for part in parts(found)] == [1476, 492, 656]


def test_the_test_set_is_the_same_for_all_seeds_and_the_rest_is_not(elpv):
    found = [split(elpv.labels, elpv.classes, seed=seed) for seed in range(3)]
    assert all(np.array_equal(found[0].test, other.test) for other in found[1:])
    assert len({other.train.tobytes() for other in found}) == 3
    assert len({other.fingerprint for other in found}) == 3


def test_the_same_seed_gives_the_same_split(elpv):
    one, two = (split(elpv.labels, elpv.classes, seed=5) for _ in range(2))
    assert all(np.array_equal(a, b) for a, b in zip(parts(one), parts(two), strict=True))
    assert one.fingerprint == two.fingerprint


def test_a_subset_is_the_same_for_all_seeds_and_keeps_the_shares(elpv):
    found = [split(elpv.labels, elpv.classes, seed=seed, max_images=320) for seed in range(2)]
    chosen = [np.sort(np.concatenate(parts(each))) for each in found]
    assert [len(part) for part in parts(found[0])] == [180, 60, 80]
    assert np.array_equal(*chosen)
    assert np.array_equal(found[0].test, found[1].test)
    whole = shares(elpv.labels, np.arange(len(elpv)))
    assert np.abs(shares(elpv.labels, chosen[0]) - whole).max() < 1 / 320


def test_as_many_images_as_there_are_is_all_of_them(elpv):
    everything = split(elpv.labels, elpv.classes, seed=0)
    same = split(elpv.labels, elpv.classes, seed=0, max_images=len(elpv))
    assert same.fingerprint == everything.fingerprint


@given(
    counts=st.lists(st.integers(12, 60), min_size=2, max_size=5),
    seed=st.integers(0, 2**32 - 1),
    test_share=st.floats(0.2, 0.5),
    validation_share=st.floats(0.2, 0.5),
)
def test_parts_are_disjoint_complete_stratified_and_of_the_right_size(
    counts, seed, test_share, validation_share
):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    found = split(
        labels,
        [str(label) for label in range(len(counts))],
        seed=seed,
        test_share=test_share,
        validation_share=validation_share,
    )
    everything = np.concatenate(parts(found))
    assert np.array_equal(np.sort(everything), np.arange(len(labels)))
    assert abs(len(found.test) - test_share * len(labels)) <= 1
    rest = len(labels) - len(found.test)
    assert abs(len(found.validation) - validation_share * rest) <= 1
    for part in parts(found):
        assert np.array_equal(part, np.sort(part))
        expected = np.array(counts) * len(part) / len(labels)
        # Off by at most one image in each of the two cuts.
        assert np.abs(np.bincount(labels[part]) - expected).max() <= 2


@pytest.mark.parametrize("few", [1, 2, 3])
def test_a_class_with_too_few_images_is_named(few):
    labels = np.array([0] * 40 + [1] * few)
    with pytest.raises(InputError, match=rf"Class 'dog' has {few} images, too few.*Add images"):
        split(labels, ["cat", "dog"], seed=0)


def test_a_subset_too_small_for_its_classes_is_told(elpv):
    with pytest.raises(InputError, match="too few for a split"):
        split(elpv.labels, elpv.classes, seed=0, max_images=4)
