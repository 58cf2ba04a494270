"""Images and folders as people have them, and as somebody might make them on purpose."""

import os
import struct
import zlib
from contextlib import suppress

import factories
import numpy as np
import pandas as pd
import pytest
from PIL import EpsImagePlugin, Image

from effnet_core.data.datasets import imagefolder
from effnet_core.data.images import decode, load_images
from effnet_core.data.splits import split_dataset
from effnet_core.errors import InputError
from effnet_core.run import Data, predictions_table
from effnet_core.study import records
from effnet_core.study.design import Settings
from effnet_core.training.evaluate import Evaluation, metrics

STRANGE = [
    "with space.png",
    "-rf.png",
    'it\'s "quoted".png',
    "<script>alert(1)<script>.png",
    "ünï-日本-🙂.png",
    "a,b;c.png",
    "$x$ %s {y}.png",
]


@pytest.fixture
def photos(tmp_path):
    """Two classes of four images; one class has a name that is markup."""
    for kind, shade in (("<img src=x onerror=alert(1)>", 250), ("dog", 5)):
        (tmp_path / "photos" / kind).mkdir(parents=True)
        for place in range(4):
            image = Image.new("RGB", (9, 9), (shade, place, 7))
            image.save(tmp_path / "photos" / kind / f"{place}.png")
    return tmp_path / "photos"


def test_strange_names_are_names(own_folders, photos, tally):
    for name in STRANGE:
        Image.new("RGB", (9, 9)).save(photos / "dog" / name)
    dataset = imagefolder(str(photos))
    assert {f"dog/{name}" for name in STRANGE} <= set(dataset.names)
    assert load_images(dataset, 16).shape == (8 + len(STRANGE), 16, 16, 3)
    everything = np.arange(len(dataset))
    probabilities = np.full((len(dataset), 2), 0.5)
    found = Evaluation(everything, dataset.labels, probabilities, None)
    data = Data(None, dataset, None, None)
    table = predictions_table(data, {"test": found})
    path = own_folders / "x.csv"
    path.write_bytes(records.predictions_csv(table))
    assert list(pd.read_csv(path)["image"]) == dataset.names
    tally["strange names"] += len(STRANGE)


@pytest.mark.parametrize("name", [b"new\nline.png", b"not-utf8-\xff.png", b"tab\t.png"])
def test_a_name_that_no_table_can_hold_is_told(photos, tally, name):
    with open(os.fsencode(photos / "dog") + b"/" + name, "wb") as file:  # noqa: PTH123
        file.write(b"x")
    with pytest.raises(InputError, match=r"can ?not be written down\. Rename it"):
        imagefolder(str(photos))
    tally["strange names"] += 1


LINKS = {"to itself": "loop", "to a folder above": "..", "to nothing": "nowhere"}


@pytest.mark.parametrize("target", LINKS.values(), ids=LINKS.keys())
def test_links_that_lead_nowhere_or_in_circles_are_told(photos, tally, target):
    (photos / "dog" / "loop").symlink_to(target)
    with pytest.raises(InputError, match=r"dog/loop is neither an image nor a folder"):
        imagefolder(str(photos))
    tally["links"] += 1


def test_a_link_to_an_image_is_an_image_and_a_pipe_is_not(photos, tally):
    (photos / "dog" / "link.png").symlink_to(photos / "dog" / "0.png")
    assert "dog/link.png" in imagefolder(str(photos)).names
    os.mkfifo(photos / "dog" / "pipe.png")
    with pytest.raises(InputError, match=r"pipe\.png is neither an image nor a folder"):
        imagefolder(str(photos))
    tally["links"] += 2


def test_an_image_that_went_away_is_named(own_folders, photos):
    dataset = imagefolder(str(photos))
    (photos / "dog" / "2.png").unlink()
    with pytest.raises(InputError, match=r"dog/2\.png cannot be read"):
        load_images(dataset, 16)


def png(width: int, height: int) -> bytes:
    """A PNG that says it has this size, and holds almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(b"")), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_decompression_bomb_is_refused_by_name(tmp_path, tally):
    (tmp_path / "bomb.png").write_bytes(png(60_000, 60_000))
    with pytest.raises(InputError, match=r"bomb\.png cannot be read.*decompression bomb"):
        decode(tmp_path / "bomb.png", 16)
    tally["bad images"] += 1


@pytest.mark.parametrize("suffix", ["png", "jpg", "gif", "bmp", "tiff", "webp"])
def test_damaged_images_are_named_or_read_never_worse(tmp_path, tally, suffix):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (24, 24, 3), np.uint8)
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(pixels).save(path)
    whole = path.read_bytes()
    for number in range(60):
        data = bytearray(whole)
        if number % 2:
            data = data[: rng.integers(len(data))]
        else:
            for place in rng.integers(0, len(data), 5):
                data[place] = rng.integers(256)
        path.write_bytes(data)
        try:
            assert decode(path, 8).shape == (8, 8, 3)
        except InputError as error:
            assert f"x.{suffix} cannot be read" in str(error)  # noqa: PT017
        tally["bad images"] += 1


def test_a_picture_never_starts_a_program(tmp_path, tally, monkeypatch):
    started = tmp_path / "started"
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {started}\n")
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # it is looked for again
    picture = tmp_path / "x.jpg"
    Image.new("RGB", (9, 9)).save(picture, format="EPS")
    with pytest.raises(InputError, match=r"x\.jpg cannot be read as an image"):
        decode(picture, 8)
    assert not started.exists()
    with suppress(Exception), Image.open(picture) as opened:  # as it would have been
        opened.load()
    assert started.exists()
    tally["pictures that start a program"] += 1


def test_colours_of_printers_palettes_and_animations(tmp_path):
    red, blue = Image.new("RGB", (9, 9), "red"), Image.new("RGB", (9, 9), "blue")
    red.convert("CMYK").save(tmp_path / "cmyk.jpg", quality=100)
    assert np.abs(decode(tmp_path / "cmyk.jpg", 8)[0, 0].astype(int) - [255, 0, 0]).max() < 8
    palette = red.convert("P")
    palette.save(tmp_path / "palette.png", transparency=0)
    assert decode(tmp_path / "palette.png", 8)[0, 0].tolist() == [255, 0, 0]
    red.save(tmp_path / "film.gif", save_all=True, append_images=[blue], duration=50)
    assert decode(tmp_path / "film.gif", 8)[0, 0].tolist() == [255, 0, 0]


def test_one_image_a_class_is_told(tmp_path):
    for kind in ("cat", "dog", "owl"):
        (tmp_path / kind).mkdir()
        Image.new("RGB", (9, 9)).save(tmp_path / kind / "1.png")
    dataset = imagefolder(str(tmp_path))
    with pytest.raises(InputError, match=r"Class 'cat' has 1 images, too few.*Add images"):
        split_dataset(dataset, Settings(image_size=32))


def test_ten_thousand_classes_work_and_stay_compact():
    dataset = factories.dataset([8] * 10_000)
    labels = dataset.labels
    parts = split_dataset(dataset, Settings(image_size=32))
    assert len(np.unique(labels[parts.test])) == 10_000
    truth = labels[parts.test]
    scores = metrics(truth, np.roll(truth, 1), 1.0)
    assert 0 <= scores.accuracy <= 100
    table = {
        "part": "test",
        "image": [f"{n}" for n in parts.test],
        "label": truth,
        "predicted": truth,
        "confidence": 0.5,
    }
    assert len(records.predictions_csv(pd.DataFrame(table))) < 50 * len(truth)
