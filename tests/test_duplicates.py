"""Images with the same pixels are found, told, and never on both sides of a split."""

import dataclasses
from dataclasses import replace
from pathlib import Path

import factories
import numpy as np
import pytest
from PIL import Image

from effnet_core import run
from effnet_core.data.datasets import digits, imagefolder
from effnet_core.data.duplicates import (
    beside_official_test,
    describe_duplicates,
    first_of_equals,
)
from effnet_core.data.images import load_images
from effnet_core.data.splits import split_dataset
from effnet_core.study.design import Settings


def save(folder: Path, name: str, pixels: np.ndarray) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def copies(tmp_path):
    """Forty zeros and ones as PNG; every second zero is there again, as TIFF, and one as a one."""
    found = digits()
    for label in (0, 1):
        for number, index in enumerate(np.flatnonzero(found.labels == label)[:20]):
            save(tmp_path, f"{label}/{number:02d}.png", found.images[index])
            if label == 0 and number % 2 == 0:
                save(tmp_path, f"0/copy-{number:02d}.tiff", found.images[index])
            if label == number == 0:
                save(tmp_path, "1/torn.png", found.images[index])
    return tmp_path


def test_copies_are_found_whatever_their_names_and_formats(own_folders, copies):
    dataset = imagefolder(str(copies))
    first = first_of_equals(load_images(dataset, 16))
    twins = {
        dataset.names[index]: dataset.names[twin]
        for index, twin in enumerate(first)
        if index != twin
    }
    assert twins == {f"0/copy-{n:02d}.tiff": f"0/{n:02d}.png" for n in range(0, 20, 2)} | {
        "1/torn.png": "0/00.png"
    }
    told = describe_duplicates(dataset, first)
    assert told.startswith("11 of 51 images have the same pixels as another")
    names = [f"a\u202e{name}\x1b[2J" for name in dataset.names]
    assert describe_duplicates(replace(dataset, names=names), first).isprintable()
    assert "0/copy-00.tiff = 0/00.png" in told
    assert told.endswith("and 1 more. 1 of them are in another class than their twin.")


def test_equal_checksums_alone_make_no_copies(monkeypatch):
    monkeypatch.setattr("effnet_core.cache.checksum", lambda _: 1)
    images = digits().images[:20]
    assert first_of_equals(images).tolist() == list(range(20))


@pytest.mark.fault("images in two parts")
def test_no_copy_is_parted_from_its_twin_and_without_copies_nothing_changes(
    own_folders, copies, make_settings
):
    dataset = imagefolder(str(copies))
    first = first_of_equals(load_images(dataset, 16))
    for seed in range(5):
        settings = make_settings(seed=seed)
        parts = split_dataset(dataset, settings, first)
        sides = [parts.train, parts.validation, parts.test]
        assert np.array_equal(np.sort(np.concatenate(sides)), np.arange(len(dataset)))
        for one in range(3):
            others = np.concatenate(sides[:one] + sides[one + 1 :])
            assert not set(first[sides[one]]) & set(first[others])
    whole = digits()
    alone = split_dataset(whole, settings, np.arange(len(whole)))
    assert alone.fingerprint == split_dataset(whole, settings).fingerprint


@pytest.mark.fault("images in two parts")
def test_a_run_keeps_copies_together_and_tells_them(own_folders, monkeypatch, capsys):
    dataset = digits()
    doubled = dataclasses.replace(
        dataset,
        labels=np.tile(dataset.labels[:100], 2),
        names=dataset.names[:200],
        images=np.tile(dataset.images[:100], (2, 1, 1)),
        remarks=["Odd."],
    )
    monkeypatch.setattr(run, "load_dataset", lambda *_: doubled)
    begun = run.begin(
        {"study": "quick", "dataset": "digits", "max_images": 60, "image_size": 32, "seed": 3}
    )
    data = run.load_data(begun)
    begun.lock.release()
    told = capsys.readouterr().out.splitlines()
    assert told[-2] == "Odd."
    assert told[-1].startswith("100 of 200 images have the same pixels")
    tested = set(data.split.test % 100)
    trained = set(data.split.train % 100)
    assert len(data.split.test) == 2 * len(tested)
    assert not tested & trained


@pytest.mark.fault("images in two parts")
@pytest.mark.parametrize("groups", [None, np.arange(200) // 8])
def test_images_that_copies_of_test_images_keep_out_of_all_parts_are_counted(groups):
    dataset = dataclasses.replace(
        factories.dataset([100, 100]), groups=groups, official_test=np.arange(200) >= 160
    )
    first = np.arange(200)
    first[[160, 168, 24]] = [0, 8, 16]  # two test images are copies, and a group joins another
    first[161] = 17
    parts = split_dataset(dataset, Settings(image_size=32, official_test=True), first)
    left = sorted({*range(200)} - {*parts.train, *parts.validation, *parts.test})
    assert np.flatnonzero(beside_official_test(dataset, first)).tolist() == left
    assert len(left) == (3 if groups is None else 32)
    told = describe_duplicates(dataset, first)
    assert f"{len(left)} of the 160 images outside the test set are in no part" in told
    assert "no part" not in describe_duplicates(
        dataclasses.replace(dataset, official_test=None), first
    )
