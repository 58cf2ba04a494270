"""The layouts that people have their images in."""

import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from effnet_core.data import formats
from effnet_core.data.datasets import imagefolder
from effnet_core.errors import InputError


def photo(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (5, 4), (len(path.name), 0, 0)).save(path)


@pytest.fixture
def photos(tmp_path):
    """Two classes with two pictures each of two animals."""
    for name in ("cat/tom-1", "cat/tom-2", "dog/rex-1", "dog/rex-2", "dog/ace-1"):
        photo(tmp_path / "photos" / f"{name}.jpg")
    return tmp_path / "photos"


def test_files_that_are_no_images_of_a_class_are_left_out_and_listed(photos):
    for name in ("readme.txt", "loose.jpg", "cat/film.mp4", "cat/sound.wav", "dog/deep/x.json"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_text("x")
    dataset = imagefolder(str(photos))
    assert len(dataset) == 5
    left_out = {"readme.txt", "loose.jpg", "cat/film.mp4", "cat/sound.wav", "dog/deep/x.json"}
    assert set(dataset.left_out) == left_out


def test_a_file_without_an_ending_is_an_image(photos):
    (photos / "cat/tom-1.jpg").rename(photos / "cat/0a1b2c")
    assert "cat/0a1b2c" in imagefolder(str(photos)).names


def test_a_class_of_other_files_only_is_empty(photos):
    (photos / "bird").mkdir()
    (photos / "bird" / "notes.txt").write_text("x")
    with pytest.raises(InputError, match=r"bird is empty"):
        imagefolder(str(photos))


def test_a_photo_that_nothing_here_decodes_is_named_with_what_would(photos, monkeypatch):
    (photos / "dog" / "IMG_1.HEIC").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.setattr(Image, "EXTENSION", {".jpg": "JPEG"})
    formats._known.cache_clear()
    with pytest.raises(InputError, match=r"IMG_1\.HEIC.*pip install 'pillow-heif'.*JPEG"):
        imagefolder(str(photos))


@pytest.mark.parametrize("parts", [("train", "val", "test"), ("Training", "Validation"), ("test",)])
def test_parts_are_never_classes(photos, parts):
    for part in parts:
        photo(photos.parent / "parts" / part / "cat" / "1.png")
    with pytest.raises(InputError, match=r"parts of a data set.*effnet new NAME --images"):
        imagefolder(str(photos.parent / "parts"))
    if len(parts) > 1:
        photo(photos.parent / "parts" / "extra" / "cat" / "1.png")
        with pytest.raises(InputError, match="parts of a data set"):
            imagefolder(str(photos.parent / "parts"))


def test_a_class_may_be_called_train(photos):
    for kind in ("train", "bus"):
        photo(photos.parent / "traffic" / kind / "1.png")
    assert imagefolder(str(photos.parent / "traffic")).classes == ["bus", "train"]


@pytest.fixture
def labels(photos):
    """A table that names three of the images, and which animal each shows."""
    rows = [("cat/tom-1.jpg", "NA", "7"), ("dog/rex-1.jpg", "b", "8"), ("dog/rex-2.jpg", "b", "8")]
    path = photos.parent / "labels.csv"
    pd.DataFrame(rows, columns=["File", "class", "animal"]).rename(
        columns={"File": "filename"}
    ).to_csv(path, index=False)
    return path


def test_a_table_of_paths_and_labels(photos, labels):
    dataset = imagefolder(str(photos), str(labels), "animal")
    assert dataset.classes == ["NA", "b"]
    assert dataset.labels.tolist() == [0, 1, 1]
    assert dataset.names == ["cat/tom-1.jpg", "dog/rex-1.jpg", "dog/rex-2.jpg"]
    assert dataset.images[0] == photos / "cat/tom-1.jpg"
    assert dataset.groups.tolist() == [0, 1, 1]


def test_a_table_may_say_which_images_are_for_testing(photos, labels):
    assert imagefolder(str(photos), str(labels)).official_test is None
    table = pd.read_csv(labels, keep_default_na=False)
    table.assign(part=["train", "val", "Test"]).to_csv(labels, index=False)
    assert imagefolder(str(photos), str(labels)).official_test.tolist() == [False, False, True]


def test_paths_are_relative_to_the_table_where_no_folder_is_given(photos, labels):
    labels.rename(photos / "labels.csv")
    assert len(imagefolder(None, str(photos / "labels.csv"))) == 3


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("cat/gone.jpg,a,1", r"1 images are not in .*photos: cat/gone\.jpg"),
        ("cat/tom-1.jpg,b,1", r"are there twice: cat/tom-1\.jpg"),
        ("cat/tom-2.jpg, ,1", r"have no label: cat/tom-2\.jpg"),
        ("cat/tom-2.jpg,b,1,2", r"cannot be read as a CSV table"),
    ],
)
def test_a_table_with_a_mistake_is_told(photos, labels, line, told):
    labels.write_text(labels.read_text() + line + "\n")
    with pytest.raises(InputError, match=told):
        imagefolder(str(photos), str(labels))


def test_a_table_without_labels_or_with_one_class_is_told(photos, labels):
    labels.write_text("path,kind\ncat/tom-1.jpg,a\n")
    with pytest.raises(InputError, match=r"has no column label .*but path, kind"):
        imagefolder(str(photos), str(labels))
    labels.write_text("path,label\ncat/tom-1.jpg,a\n")
    with pytest.raises(InputError, match="name 1 classes"):
        imagefolder(str(photos), str(labels))


@pytest.mark.parametrize(
    ("rule", "groups"), [(r"(\w+)-\d", [1, 1, 0, 2, 2]), (r"^[^/]+", [0, 0, 1, 1, 1])]
)
def test_a_pattern_in_the_names_says_which_images_show_one_object(photos, rule, groups):
    found = imagefolder(str(photos), groups=rule).groups
    assert found.dtype == np.int64
    # cat/tom-1, cat/tom-2, dog/ace-1, dog/rex-1, dog/rex-2
    same = np.equal.outer(found, found)
    assert np.array_equal(same, np.equal.outer(groups, groups))


@pytest.mark.parametrize(("rule", "told"), [("(", "no pattern"), ("tom", "matches nothing in")])
def test_a_pattern_that_says_nothing_of_an_image_is_told(photos, rule, told):
    with pytest.raises(InputError, match=told):
        imagefolder(str(photos), groups=rule)


def test_a_folder_that_moved_is_the_same_data(photos):
    before = imagefolder(str(photos)).fingerprint
    photos.rename(photos.parent / "elsewhere")
    assert imagefolder(str(photos.parent / "elsewhere")).fingerprint == before
