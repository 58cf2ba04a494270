import numpy as np
import pytest
import torch
from torch import nn

from effnet_core.model.backbones import Backbone, load_backbone
from effnet_core.model.freezing import FrozenNetwork
from effnet_core.model.prefix import Cached, Pixels, Stages, checksums_path, frozen_boundary

BATCH = 4
DEPTHS = [1, 2, 3, 4, 5, 6]


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("tf_efficientnet_lite0", "packaged")


def boundary_at(freeze, backbone, images, keep=None):
    network = FrozenNetwork(backbone.network, nn.Linear(1280, 2), freeze)
    network.to(memory_format=torch.channels_last)
    return frozen_boundary(
        Pixels(images, backbone, "cpu"), network.prefix, freeze, BATCH, keep or {}
    )


@pytest.mark.parametrize("freeze", DEPTHS)
def test_activations_do_not_depend_on_the_company_of_an_image(freeze, backbone, small_images):
    images, _ = small_images
    boundary = boundary_at(freeze, backbone, images)
    whole = boundary(np.arange(len(images)))
    assert len(whole) == len(images)
    assert not torch.equal(whole[0], whole[1])
    shuffled = np.random.default_rng(0).permutation(len(images))
    # Full, ragged (1 to 3 images), single, longer than a batch, the same image twice.
    for indices in (shuffled, shuffled[:7], shuffled[:1], shuffled[:2], shuffled[:5], [3, 3, 0]):
        assert torch.equal(boundary(np.array(indices)), whole[indices])


def test_gradient_mode_does_not_change_activations(backbone, small_images):
    boundary = boundary_at(4, backbone, small_images[0])
    with torch.no_grad():
        without = boundary(np.arange(6))
    found = boundary(np.arange(6))
    assert torch.equal(found, without)
    assert not found.requires_grad


class Witness(nn.Module):
    """A stage that changes nothing and remembers how many images it saw each time."""

    def __init__(self):
        super().__init__()
        self.sizes = []

    def forward(self, images):
        self.sizes.append(len(images))
        return images


def test_stages_always_see_a_full_batch(backbone, small_images):
    witness = Witness()
    boundary = Stages(Pixels(small_images[0], backbone, "cpu"), nn.Sequential(witness), BATCH)
    assert [len(boundary(np.arange(n))) for n in (1, 4, 5, 11)] == [1, 4, 5, 11]
    assert witness.sizes == [BATCH] * (1 + 1 + 2 + 3)


def test_without_freezing_the_boundary_is_the_normalised_image(backbone, small_images):
    images, _ = small_images
    boundary = boundary_at(0, backbone, images)
    indices = np.array([5, 2, 9])
    expected = torch.from_numpy(images[indices]).permute(0, 3, 1, 2) / 127.5 - 1
    assert torch.allclose(boundary(indices), expected, atol=1e-6)


def test_pixels_are_what_the_weights_expect():
    backbone = Backbone(None, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 1.0), fingerprint="")
    pixels = np.array([[0, 0, 0], [255, 255, 255], [51, 102, 153]], np.uint8).reshape(1, 1, 3, 3)
    found = Pixels(pixels, backbone, "cpu")(np.array([0]))
    assert found.shape == (1, 3, 1, 3)
    assert found.dtype == torch.float32
    expected = [[-1.0, 1.0, -0.6], [-1.0, 3.0, 0.6], [0.0, 1.0, 0.6]]
    assert torch.allclose(found[0, :, 0], torch.tensor(expected))


def test_pixels_are_channels_last(backbone, small_images):
    found = Pixels(small_images[0], backbone, "cpu")(np.arange(4))
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("freeze", DEPTHS)
def test_kept_is_computed_to_the_bit(freeze, backbone, small_images, tmp_path):
    images, _ = small_images
    keep = {depth: tmp_path / f"{depth}.npy" for depth in DEPTHS}
    computed = boundary_at(freeze, backbone, images)
    everything = np.arange(len(images))
    for depth in range(1, freeze + 1):  # each is filled from the one below
        boundary_at(depth, backbone, images, keep)(everything[: 3 * depth])
    kept = boundary_at(freeze, backbone, images, keep)
    for indices in (np.array([7, 2, 2, 9]), everything, np.array([23, 0, 5])):
        found, expected = kept(indices), computed(indices)
        assert torch.equal(found, expected)
        assert found.is_contiguous(memory_format=torch.channels_last)


def counted(images, backbone, path) -> tuple[Cached, Witness]:
    witness = Witness()
    source = Stages(Pixels(images, backbone, "cpu"), nn.Sequential(witness), BATCH)
    return Cached(source, path, len(images), "cpu"), witness


def test_each_row_is_computed_once_by_all_who_ask(backbone, small_images, tmp_path):
    images, _ = small_images
    first, computed_by_first = counted(images, backbone, tmp_path / "rows.npy")
    first(np.arange(8))
    first(np.arange(8))
    assert len(computed_by_first.sizes) == 2
    second, computed_by_second = counted(images, backbone, tmp_path / "rows.npy")
    found = second(np.arange(12))  # eight are there, four are not
    assert len(computed_by_second.sizes) == 1
    assert torch.equal(found, Pixels(images, backbone, "cpu")(np.arange(12)))
    assert torch.equal(first(np.arange(12)), found)
    assert len(computed_by_first.sizes) == 2


def test_only_images_that_were_asked_for_take_room(backbone, small_images, tmp_path):
    small, _ = small_images
    images = np.broadcast_to(small[0], (50_000, *small[0].shape))
    path = tmp_path / "rows.npy"
    asked = np.array([7, 30_000, 49_999])
    boundary, _ = counted(images, backbone, path)
    assert torch.equal(boundary(asked), Pixels(images, backbone, "cpu")(asked))
    row = 4 * 3 * 32 * 32
    assert path.stat().st_size > 50_000 * row
    assert path.stat().st_blocks * 512 < 20 * row
    assert np.flatnonzero(np.load(checksums_path(path))).tolist() == asked.tolist()


def test_a_disk_that_fills_up_costs_time_and_nothing_else(
    backbone, small_images, tmp_path, monkeypatch, capsys
):
    images, _ = small_images
    boundary, witness = counted(images, backbone, tmp_path / "rows.npy")
    boundary(np.arange(8))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.posix_fallocate", full)
    for _ in range(2):
        found = boundary(np.arange(12))
        assert torch.equal(found, Pixels(images, backbone, "cpu")(np.arange(12)))
    assert capsys.readouterr().out.count("No space left on device") == 1
    computed = len(witness.sizes)
    assert torch.equal(boundary(np.arange(8)), found[:8])
    assert len(witness.sizes) == computed  # what was kept before is used


@pytest.mark.parametrize("which", ["row", "checksum", "cut short", "emptied", "other shape"])
def test_damage_is_found_and_healed(which, backbone, small_images, tmp_path):
    images, _ = small_images
    path = tmp_path / "rows.npy"
    whole = counted(images, backbone, path)[0](np.arange(24))
    if which == "row":
        np.load(path, mmap_mode="r+")[5, 0, 0, 0] += 1
    elif which == "checksum":
        np.load(checksums_path(path), mmap_mode="r+")[5] ^= 1
    elif which == "cut short":
        path.write_bytes(path.read_bytes()[:-5])
    elif which == "emptied":
        path.write_bytes(b"")
    else:
        np.save(path, np.zeros((3, 2), np.float32))
    again, witness = counted(images, backbone, path)
    assert torch.equal(again(np.arange(24)), whole)
    assert len(witness.sizes) == (1 if which in ("row", "checksum", "cut short") else 6)
    healed, witness = counted(images, backbone, path)
    assert torch.equal(healed(np.arange(24)), whole)
    assert witness.sizes == []
