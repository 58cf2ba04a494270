import dataclasses

import numpy as np
import pytest
from PIL import Image

from effnet_core import paths
from effnet_core.data import images
from effnet_core.data.datasets import digits, imagefolder
from effnet_core.data.images import decode, load_images
from effnet_core.errors import InputError


def few_digits(count=5):
    dataset = digits()
    return dataclasses.replace(
        dataset,
        labels=dataset.labels[:count],
        names=dataset.names[:count],
        images=dataset.images[:count],
    )


def test_images_are_decoded_once_and_then_mapped(own_folders, monkeypatch):
    dataset = few_digits()
    first = load_images(dataset, 32)
    assert first.shape == (5, 32, 32, 3)
    assert first.dtype == np.uint8
    assert all(np.array_equal(first[i], decode(dataset.images[i], 32)) for i in range(5))
    monkeypatch.setattr(images, "decode", None)
    second = load_images(dataset, 32)
    assert isinstance(second, np.memmap)
    assert np.array_equal(first, second)
    with pytest.raises(ValueError, match="read-only"):
        second[0] = 0


def test_another_size_or_another_image_is_decoded_anew(own_folders):
    dataset = few_digits()
    changed = dataclasses.replace(dataset, images=255 - dataset.images)
    load_images(dataset, 32)
    assert load_images(dataset, 16).shape == (5, 16, 16, 3)
    assert np.array_equal(load_images(changed, 32)[0], decode(255 - dataset.images[0], 32))
    assert len(list((paths.CACHE / "images").glob("*.npy"))) == 3


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "CMYK", "1", "LA"])
def test_every_common_kind_of_image_becomes_rgb(tmp_path, mode):
    path = tmp_path / "x.tiff"
    Image.new("RGB", (20, 10), "white").convert(mode).save(path)
    assert np.array_equal(decode(path, 8), np.full((8, 8, 3), 255))


def test_the_whole_image_is_kept_and_squeezed_to_a_square(tmp_path):
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 20:] = 255
    Image.fromarray(wide).save(tmp_path / "x.png")
    square = decode(tmp_path / "x.png", 8)
    assert square[:, :3].max() < 10
    assert square[:, 5:].min() > 245


def test_a_photo_taken_sideways_stands_upright(tmp_path):
    left_is_white = np.zeros((16, 16, 3), np.uint8)
    left_is_white[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # EXIF orientation: turn by 90 degrees clockwise to show
    Image.fromarray(left_is_white).save(tmp_path / "x.png", exif=exif)
    upright = decode(tmp_path / "x.png", 16)
    assert upright[:6].min() == 255
    assert upright[10:].max() == 0


def one_bad_image(folder, name, data):
    """A folder of four images, one of which is replaced."""
    for kind in ("cat", "dog"):
        (folder / kind).mkdir(parents=True)
        for place in range(2):
            Image.new("RGB", (9, 9), (place, 7, 9)).save(folder / kind / f"{place}.png")
    (folder / name).write_bytes(data)
    return imagefolder(str(folder))


def png(image: Image.Image, path) -> bytes:
    image.save(path, "PNG")
    return path.read_bytes()


@pytest.mark.parametrize("kind", ["text", "empty", "truncated", "sixteen bits"])
def test_an_unreadable_image_is_named_and_nothing_is_kept(own_folders, kind):
    noise = np.random.default_rng(0).integers(0, 256, (30, 30, 3), np.uint8)
    data = {
        "text": b"not an image",
        "empty": b"",
        "truncated": png(Image.fromarray(noise), own_folders / "a")[:1500],
        "sixteen bits": png(Image.fromarray(np.full((9, 9), 999, np.uint16)), own_folders / "b"),
    }[kind]
    dataset = one_bad_image(own_folders / "photos", "dog/1.png", data)
    with pytest.raises(InputError, match=r"dog/1\.png can not be read as an image.*Replace it"):
        load_images(dataset, 16)
    kept = {path.suffix for path in (paths.CACHE / "images").iterdir()}
    assert kept <= {".lock"}


def test_a_text_file_among_images_is_named(own_folders):
    dataset = one_bad_image(own_folders / "photos", "dog/notes.txt", b"a note")
    with pytest.raises(InputError, match=r"dog/notes\.txt can not be read"):
        load_images(dataset, 16)


def test_an_image_of_suspicious_size_is_named(tmp_path, monkeypatch):
    Image.new("L", (100, 100)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match=r"bomb\.png can not be read"):
        decode(tmp_path / "bomb.png", 16)
