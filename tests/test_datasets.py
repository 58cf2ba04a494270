import dataclasses
import gzip
import importlib.util
import shutil

import numpy as np
import pytest
from PIL import Image

from effnet_core import paths
from effnet_core.data import datasets
from effnet_core.data.datasets import load_dataset
from effnet_core.errors import InputError


def test_elpv_is_the_published_data_set():
    dataset = load_dataset("elpv")
    # Deitsch et al., Solar Energy 2019: 2,624 cells with defect probabilities 0 (1,508 cells),
    # 1/3 (295), 2/3 (106) and 1 (715); a cell counts as defective from 1/2 on.
    assert np.bincount(dataset.labels).tolist() == [1508 + 295, 106 + 715]
    assert dataset.classes == ["functional", "defective"]
    assert len(set(dataset.names)) == len(dataset) == len(dataset.images) == 2624
    assert set(dataset.subgroups) == {"mono", "poly"}
    assert all(path.is_file() for path in dataset.images)
    assert Image.open(dataset.images[0]).size == (300, 300)


def test_digits_keep_their_pixels_and_labels():
    from sklearn.datasets import load_digits

    dataset, bunch = load_dataset("digits"), load_digits()
    assert dataset.images.shape == (1797, 8, 8)
    assert dataset.images.dtype == np.uint8
    assert dataset.images.max() == 255
    assert np.abs(dataset.images * (16 / 255) - bunch.images).max() < 0.05
    assert [dataset.classes[label] for label in dataset.labels] == [str(t) for t in bunch.target]
    assert len(set(dataset.names)) == 1797


def idx(values: np.ndarray) -> bytes:
    """The IDX format: two zeros, 8 for bytes, the dimensions, their sizes (big-endian), data."""
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">i4").tobytes()
    return gzip.compress(header + values.astype(np.uint8).tobytes())


@pytest.fixture
def debian(tmp_path, monkeypatch):
    """A tiny Fashion-MNIST, laid out as Debian's package does: 6 and 4 images."""
    pixels = np.random.default_rng(0).integers(0, 256, (10, 28, 28))
    labels = np.arange(10)[::-1]
    for part, chosen in (("train", slice(6)), ("t10k", slice(6, 10))):
        (tmp_path / f"{part}-images-idx3-ubyte.gz").write_bytes(idx(pixels[chosen]))
        (tmp_path / f"{part}-labels-idx1-ubyte.gz").write_bytes(idx(labels[chosen]))
    monkeypatch.setattr(datasets, "DEBIAN_FASHION_MNIST", tmp_path)
    return tmp_path, pixels, labels


def test_fashion_mnist_is_read_from_debians_files(debian):
    _, pixels, labels = debian
    dataset = load_dataset("fashion_mnist")
    assert np.array_equal(dataset.images, pixels)
    assert np.array_equal(dataset.labels, labels)
    assert dataset.classes[dataset.labels[0]] == "Ankle boot"
    assert dataset.official_test.tolist() == [False] * 6 + [True] * 4
    assert len(set(dataset.names)) == 10


@pytest.mark.parametrize(
    "damage",
    [None, b"no gzip", idx(np.zeros((6, 28, 28)))[:-9]],
    ids=["missing", "no gzip", "cut short"],
)
def test_damaged_fashion_mnist_is_told(debian, damage):
    file = debian[0] / "train-images-idx3-ubyte.gz"
    file.unlink() if damage is None else file.write_bytes(damage)
    with pytest.raises(InputError, match=r"train-images-idx3-ubyte\.gz cannot be read.*Reinstall"):
        load_dataset("fashion_mnist")


def test_fashion_mnist_without_debian_and_internet_says_what_to_do(own_folders, monkeypatch):
    from torchvision.datasets import FashionMNIST

    monkeypatch.setattr(datasets, "DEBIAN_FASHION_MNIST", own_folders / "nowhere")
    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://localhost:1/"])
    with pytest.raises(InputError, match=r"could not be downloaded.*dataset-fashion-mnist"):
        load_dataset("fashion_mnist")


def test_fashion_mnist_that_was_downloaded_is_not_fetched_again(debian, own_folders, monkeypatch):
    from torchvision.datasets import FashionMNIST

    raw = paths.CACHE / "datasets/FashionMNIST/raw"
    raw.mkdir(parents=True)
    for file in debian[0].glob("*.gz"):  # torchvision keeps the archives beside what it unpacks
        (raw / file.name).write_bytes(file.read_bytes())
        (raw / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
    monkeypatch.setattr(datasets, "DEBIAN_FASHION_MNIST", own_folders / "nowhere")
    monkeypatch.setattr(FashionMNIST, "mirrors", ["http://localhost:1/"])
    assert np.array_equal(load_dataset("fashion_mnist").images, debian[1])


def test_a_folder_of_your_own(folder):
    dataset = load_dataset("imagefolder", str(folder))
    assert dataset.classes == ["cat", "dog"]
    assert dataset.names == ["cat/1.png", "cat/deep/2.png", "dog/1.png"]
    assert dataset.labels.tolist() == [0, 0, 1]
    assert dataset.images[1] == folder / "cat/deep/2.png"


@pytest.mark.parametrize("missing", [None, ""])
def test_imagefolder_needs_a_folder(missing):
    with pytest.raises(InputError, match="needs data_dir"):
        load_dataset("imagefolder", missing)


@pytest.mark.parametrize(
    "parts", [("train", "test"), ("Training_set", "Validation set", "test-images")]
)
def test_parts_of_a_data_set_are_never_trained_as_classes(folder, tmp_path, parts):
    for part in parts:
        shutil.copytree(folder, tmp_path / "parted" / part)
    with pytest.raises(InputError, match="holds parts of a data set"):
        load_dataset("imagefolder", str(tmp_path / "parted"))


def test_a_missing_folder_is_told(folder):
    with pytest.raises(InputError, match=r"nowhere is not a folder.*holds the classes"):
        load_dataset("imagefolder", str(folder / "nowhere"))


def test_an_empty_folder_is_told(tmp_path):
    with pytest.raises(InputError, match="holds 0 class folders; at least 2"):
        load_dataset("imagefolder", str(tmp_path))


def test_a_folder_of_one_class_is_told(folder):
    shutil.rmtree(folder / "dog")
    with pytest.raises(InputError, match="holds 1 class folders; at least 2"):
        load_dataset("imagefolder", str(folder))


def test_an_empty_class_is_told(folder):
    (folder / "bird").mkdir()
    with pytest.raises(InputError, match=r"bird is empty.*Add images"):
        load_dataset("imagefolder", str(folder))


def test_an_unknown_data_set_is_told_with_the_known_ones():
    with pytest.raises(InputError, match=r"'eplv'.*elpv, fashion_mnist, digits, imagefolder"):
        load_dataset("eplv")


def test_data_dir_for_a_data_set_that_has_its_own_images_is_told(folder):
    with pytest.raises(InputError, match="for dataset imagefolder only"):
        load_dataset("digits", str(folder))


def test_a_data_package_that_is_not_installed_is_told(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(InputError, match=r"elpv-dataset is missing.*pip install elpv-dataset"):
        load_dataset("elpv")


def test_the_fingerprint_sees_every_change(folder):
    def fingerprint(**changes):
        dataset = load_dataset("imagefolder", str(folder))
        return dataclasses.replace(dataset, **changes).fingerprint

    found = [fingerprint()]
    assert fingerprint() == found[0]
    found += [fingerprint(labels=np.array([1, 0, 1])), fingerprint(classes=["cat", "wolf"])]
    image = folder / "dog/1.png"
    image.write_bytes(image.read_bytes()[:-1] + b"\0")
    found.append(fingerprint())
    image.rename(folder / "dog/2.png")
    found.append(fingerprint())
    assert len(set(found)) == 5
