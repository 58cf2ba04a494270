import dataclasses
import io
import shutil
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from factories import save_deep_planes
from PIL import Image, ImageFile

from effnet_core import paths
from effnet_core.data import images
from effnet_core.data.datasets import digits, imagefolder
from effnet_core.data.formats import why_not_whole
from effnet_core.data.images import decode, load_images
from effnet_core.errors import InputError
from effnet_report import clearing
from effnet_report.intake import look


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


@pytest.mark.fault("caches cleared while in use")
@pytest.mark.parametrize("delete", [clearing.clear, lambda: shutil.rmtree(paths.CACHE / "images")])
def test_images_are_right_though_the_cache_is_cleared_while_they_are_decoded(
    own_folders, monkeypatch, delete
):
    dataset = few_digits()
    right = [decode(image, 32) for image in dataset.images]
    cleared = []

    def decoded(image, *how):
        if len(cleared) < 2:
            cleared.append(delete())
        return decode(image, *how)

    monkeypatch.setattr(images, "decode", decoded)
    assert np.array_equal(load_images(dataset, 32), right)


@pytest.mark.fault("caches cleared while in use")
def test_images_stay_right_while_they_are_cleared_and_made_again(own_folders):
    dataset = few_digits()
    first = load_images(dataset, 32)
    right = first.copy()
    shutil.rmtree(paths.CACHE / "images")
    load_images(dataset, 32)
    clearing.clear()
    assert np.array_equal(first, right)


def test_images_that_vanish_again_and_again_end_in_one_message(own_folders, monkeypatch):
    monkeypatch.setattr(images, "_fill", lambda *_: None)
    with pytest.raises(InputError, match="were deleted or changed"):
        load_images(few_digits(), 32)


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
    with pytest.raises(InputError, match=r"dog/1\.png cannot be read as an image.*Replace it"):
        load_images(dataset, 16)
    kept = {path.suffix for path in (paths.CACHE / "images").iterdir()}
    assert kept <= {".lock"}


@pytest.mark.parametrize("suffix", ["png", "webp", "tiff", "gif", "avif"])
def test_colours_hidden_under_transparency_are_not_the_picture(tmp_path, suffix):
    image = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    image.paste((0, 0, 255, 255), (0, 0, 8, 16))
    image.save(tmp_path / f"x.{suffix}", lossless=True)
    white, black = (
        decode(tmp_path / f"x.{suffix}", 16, background=ground) for ground in ("white", "black")
    )
    assert np.abs(white[8, 14].astype(int) - 255).max() < 9
    assert black[8, 14].max() < 9
    assert np.abs(white[8, 1].astype(int) - (0, 0, 255)).max() < 9


def test_half_transparent_grey_is_mixed_with_the_background(tmp_path):
    Image.new("LA", (8, 8), (0, 128)).save(tmp_path / "x.png")
    assert np.abs(decode(tmp_path / "x.png", 8).astype(int) - 127).max() <= 1


def test_an_image_that_is_not_square_is_squashed_padded_or_cropped(tmp_path):
    thirds = np.zeros((10, 30, 3), np.uint8)
    thirds[:, 10:20] = (255, 0, 0)
    Image.fromarray(thirds).save(tmp_path / "x.png")
    squashed, padded, cropped = (
        decode(tmp_path / "x.png", 30, resize, "white") for resize in ("squash", "pad", "crop")
    )
    red = [(image == (255, 0, 0)).all(axis=2).mean() for image in (squashed, padded, cropped)]
    assert np.abs(np.array(red) - (1 / 3, 1 / 9, 1)).max() < 0.09
    assert (padded[:9] == 255).all()


def test_what_changes_the_pixels_is_part_of_the_place_they_are_kept(own_folders):
    dataset = few_digits()
    for resize, background in (("squash", "white"), ("pad", "white"), ("pad", "black")):
        load_images(dataset, 16, resize, background)
    assert len(list((paths.CACHE / "images").glob("*.npy"))) == 3


def test_a_heic_photo_is_read_where_its_plugin_is_installed(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif")
    path = tmp_path / "x.heic"
    pillow_heif.from_pillow(Image.new("RGB", (64, 64), (0, 0, 255))).save(path)
    assert np.abs(decode(path, 8)[4, 4].astype(int) - (0, 0, 255)).max() < 12


def deep_png(path, values: np.ndarray) -> None:
    """Write a PNG of 16 bits a channel, which Pillow cannot; values of shape (h, w, channels)."""
    height, width, channels = values.shape
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks
        )
    )


@pytest.mark.fault("images that would not be seen whole")
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_deep_colour_is_refused_in_any_number_of_channels(tmp_path, channels):
    deep_png(tmp_path / "x.png", np.full((8, 8, channels), 4095))
    with pytest.raises(InputError, match=r"x\.png cannot be read .*more than 8 bits a channel"):
        decode(tmp_path / "x.png", 8)


@pytest.mark.fault("images that would not be seen whole")
def test_deep_colour_of_other_formats_is_refused(tmp_path):
    Image.new("RGB", (8, 8), "red").save(tmp_path / "x.sgi", bpc=2)
    Image.fromarray(np.ones((8, 8), np.float32)).save(tmp_path / "x.tif")
    for name in ("x.sgi", "x.tif"):
        with pytest.raises(InputError, match="more than 8 bits a channel"):
            decode(tmp_path / name, 8)


@pytest.mark.fault("images that would not be seen whole")
def test_deep_colour_in_separate_planes_is_refused_by_every_run(tmp_path, own_folders):
    for kind in ("cat", "dog"):
        (tmp_path / kind).mkdir()
        Image.new("RGB", (8, 8), "red").save(tmp_path / kind / "a.png")
    save_deep_planes(tmp_path / "dog" / "b.tif")
    with pytest.raises(InputError, match=r"dog/b\.tif has more than 8 bits a channel"):
        load_images(imagefolder(str(tmp_path)), 16)
    with pytest.raises(InputError, match=r"dog/b\.tif cannot be read .*more than 8 bits"):
        decode(tmp_path / "dog" / "b.tif", 16)


def tiff(photometric: int, samples: int, extra: tuple[int, ...], planar: int) -> bytes:
    """A TIFF of 8 x 8 pixels with these tags, 8 bits a channel."""
    tags = {256: [8], 257: [8], 258: [8] * samples, 259: [1], 262: [photometric], 273: [0]}
    plane = 64 if planar == 2 else 64 * samples
    strips = samples if planar == 2 else 1
    tags |= {277: [samples], 278: [8], 279: [plane] * strips, 284: [planar]}
    tags |= {338: [*extra]} if extra else {}
    after = 8 + 2 + 12 * len(tags) + 4
    pixels = after + 8 * 4 * samples
    tags[273] = [pixels + n * plane for n in range(strips)]
    entries, lists = b"", b""
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        where = packed if len(values) == 1 else struct.pack("<I", after + len(lists))
        lists += packed if len(values) > 1 else b""
        entries += struct.pack("<HHI", tag, 4, len(values)) + where
    head = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    return (head + lists).ljust(pixels, b"\0") + bytes([40, 90, 200, 7] * 16 * samples)


WHOLE = {
    "grey": tiff(1, 1, (), 1),
    "grey and alpha": tiff(1, 2, (2,), 1),
    "RGB": tiff(2, 3, (), 1),
    "RGB in planes": tiff(2, 3, (), 2),
    "RGB and alpha": tiff(2, 4, (2,), 1),
    "CMYK": tiff(5, 4, (), 1),
}
NOT_WHOLE = {
    "grey and more": tiff(1, 2, (0,), 1),
    "grey and more in planes": tiff(1, 2, (0,), 2),
    "RGB and infrared": tiff(2, 4, (0,), 1),
    "RGB and infrared in planes": tiff(2, 4, (0,), 2),
    "RGB and four": tiff(2, 7, (0, 0, 0, 0), 1),
    "CMYK and more": tiff(5, 5, (0,), 1),
    "CMYK and more in planes": tiff(5, 5, (0,), 2),
}


@pytest.fixture
def beside(tmp_path, own_folders):
    """A folder of images with one more of the class dog, from these bytes."""

    def save(content: bytes) -> Path:
        for kind in ("cat", "dog"):
            (tmp_path / "p" / kind).mkdir(parents=True)
            Image.new("RGB", (8, 8), "red").save(tmp_path / "p" / kind / "a.png")
        (tmp_path / "p" / "dog" / "b.tif").write_bytes(content)
        return tmp_path / "p"

    return save


@pytest.mark.parametrize("content", WHOLE.values(), ids=WHOLE)
def test_a_tiff_of_colours_and_alpha_is_read(beside, content):
    root = beside(content)
    assert len(load_images(imagefolder(str(root)), 16)) == 3
    assert look._facts(root / "dog" / "b.tif")[0]["error"] == ""


@pytest.mark.fault("images that would not be seen whole")
@pytest.mark.parametrize("content", NOT_WHOLE.values(), ids=NOT_WHOLE)
def test_a_tiff_with_channels_that_pillow_drops_is_refused(beside, content):
    root = beside(content)
    with pytest.raises(InputError, match=r"b\.tif"):
        load_images(imagefolder(str(root)), 16)
    assert look._facts(root / "dog" / "b.tif")[0]["error"]


def jpeg2000(depths: Sequence[int], opacity: int | None = None, colours: int = 16) -> bytes:
    """The headers of a JP2 file of 8 x 8 pixels.

    Args:
        depths: bits of each channel.
        opacity: what `cdef` says the last channel is; None for no such box.
        colours: number of the colour space: 16 is sRGB, 12 CMYK.
    """

    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", 8 + len(content)) + kind + content

    head = box(b"colr", struct.pack(">BbBI", 1, 0, 0, colours))
    if opacity is not None:
        last = len(depths) - 1
        head += box(b"cdef", struct.pack(">H3H", 1, last, opacity, 0))
    size = struct.pack(
        ">HHH8IH", 0xFF51, 38 + 3 * len(depths), 0, 8, 8, 0, 0, 8, 8, 0, 0, len(depths)
    )
    size += b"".join(struct.pack("3B", depth - 1, 1, 1) for depth in depths)
    start = b"\0\0\0\x0cjP  \r\n\x87\n" + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
    return start + box(b"jp2h", head) + box(b"jp2c", b"\xff\x4f" + size)


def avif(flags: int, brand: bytes = b"avif", *, pixels_first: bool = False) -> bytes:
    """The headers of an AVIF file, with the third byte of its `av1C` box."""
    start = b"\0\0\0\x1cftyp" + brand + bytes(40)
    described, pixels = b"av1C\x81\0" + bytes([flags]), b"mdat" + b"av1C@@@"
    return start + (pixels + described if pixels_first else described + pixels)


def dds(number: int) -> bytes:
    """The headers of a DDS file in a format of DirectX 10."""
    return b"DDS " + bytes(80) + b"DX10" + bytes(40) + struct.pack("<I", number)


@pytest.mark.fault("images that would not be seen whole")
@pytest.mark.parametrize(
    ("data", "why"),
    [
        (jpeg2000([8]), ""),
        (jpeg2000([8] * 3), ""),
        (jpeg2000([8] * 4, 1), ""),
        (jpeg2000([8] * 2, 2), ""),
        (jpeg2000([8] * 4, None, 12), ""),
        (jpeg2000([16] * 3), "8 bits"),
        (jpeg2000([8, 8, 12]), "8 bits"),
        (jpeg2000([8] * 4), "more channels"),
        (jpeg2000([8] * 4, 0xFFFF), "more channels"),
        (jpeg2000([8] * 2), "more channels"),
        (jpeg2000([8] * 5, 1), "more channels"),
        (jpeg2000([8] * 4)[:20], ""),  # cut: decoding says so
        (avif(0x0C), ""),
        (avif(0x4C), "8 bits"),
        (avif(0x6C), "8 bits"),
        (avif(0x4C, b"mif1"), "8 bits"),
        (avif(0x0C, b"mif1"), ""),
        (avif(0x4C, pixels_first=True), "8 bits"),
        (dds(98), ""),
        (dds(95), "8 bits"),
        (dds(96), "8 bits"),
    ],
)  # fmt: skip
def test_depth_and_channels_that_pillow_does_not_tell_are_read_in_the_header(data, why):
    assert why in why_not_whole(data) if why else why_not_whole(data) == ""


@pytest.mark.fault("images that would not be seen whole")
@pytest.mark.parametrize(("mode", "ending"), [("RGBA", "jp2"), ("LA", "jp2"), ("RGB", "avif")])
def test_pictures_as_pillow_writes_them_are_whole(tmp_path, mode, ending):
    Image.new(mode, (8, 8), (9, 200) if mode == "LA" else "red").save(tmp_path / f"x.{ending}")
    assert why_not_whole((tmp_path / f"x.{ending}").read_bytes()) == ""
    assert not look._facts(tmp_path / f"x.{ending}")[0]["error"]


@pytest.mark.fault("images that would not be seen whole")
def test_an_unnamed_channel_is_refused_wherever_images_are_read(beside):
    pixels = io.BytesIO()
    Image.new("RGBA", (8, 8), (200, 0, 0, 40)).save(pixels, "JPEG2000")
    opaque = pixels.getvalue().replace(b"cdef", b"free")
    root = beside(opaque)
    (root / "dog" / "b.tif").rename(root / "dog" / "b.jp2")
    with pytest.raises(InputError, match=r"b\.jp2 has more channels than colours and declared"):
        load_images(imagefolder(str(root)), 16)
    assert "more channels" in look._facts(root / "dog" / "b.jp2")[0]["error"]


@pytest.mark.fault("images that would not be seen whole")
def test_signed_values_are_refused(tmp_path):
    Image.new("L", (8, 8), 200).save(tmp_path / "x.tif", tiffinfo={339: 2})
    with pytest.raises(InputError, match="signed or floating-point values"):
        decode(tmp_path / "x.tif", 8)


@pytest.mark.fault("images that would not be seen whole")
def test_pages_are_refused_but_not_smaller_copies_of_the_first(tmp_path):
    first, second = Image.new("L", (8, 8), 0), Image.new("L", (8, 8), 250)
    first.save(tmp_path / "x.tif", save_all=True, append_images=[second])
    with pytest.raises(InputError, match="several pages; save the one that counts"):
        decode(tmp_path / "x.tif", 8)
    smaller = second.resize((4, 4))
    smaller.encoderinfo = {"tiffinfo": {254: 1}}
    first.save(tmp_path / "x.tif", save_all=True, append_images=[smaller])
    assert decode(tmp_path / "x.tif", 8).max() == 0


@pytest.mark.parametrize("size", [(6000, 12), (12, 6000), (1000, 1)])
def test_of_a_thin_image_at_least_a_row_of_pixels_is_left(tmp_path, size):
    Image.new("RGB", size, "red").save(tmp_path / "x.png")
    padded = decode(tmp_path / "x.png", 64, "pad")
    assert (padded == (255, 0, 0)).all(axis=2).sum() == 64


@pytest.mark.fault("images that would not be seen whole")
@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_an_image_that_is_wholly_transparent_is_refused(tmp_path, mode):
    Image.new("RGBA", (8, 8), (255, 0, 0, 0)).convert(mode).save(tmp_path / "x.png")
    with pytest.raises(InputError, match="every pixel is transparent"):
        decode(tmp_path / "x.png", 8)


def exif(kind: int, count: int, value: bytes) -> bytes:
    """EXIF of one tag, the orientation."""
    entry = struct.pack("<HHI", 0x112, kind, count) + value.ljust(4, b"\0")
    return b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + b"\0\0\0\0"


@pytest.mark.parametrize(
    "stored",
    [
        *(exif(3, 1, b"\6"), exif(4, 1, b"\6"), exif(2, 2, b"6\0"), exif(7, 1, b"\6")),
        *(exif(3, 2, b"\6\0\6\0"), exif(3, 1, b"\x09"), exif(2, 2, b"x\0"), exif(3, 1, b"")[:18]),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_every_look_at_a_photo_sees_it_the_same_way_up(tmp_path, stored):
    photo = Image.new("RGB", (60, 40), "blue")
    photo.paste("red", (0, 0, 60, 20))
    photo.save(tmp_path / "x.jpg", exif=stored, quality=95)
    seen, _ = look._facts(tmp_path / "x.jpg")
    square = decode(tmp_path / "x.jpg", 16).astype(int)
    is_turned = abs(square[8, 15] - square[8, 0]).max() > 150
    assert not seen["error"]
    assert (seen["width"], seen["height"]) == ((40, 60) if is_turned else (60, 40))


@pytest.mark.fault("images swapped after they were hashed")
def test_pixels_come_from_the_bytes_that_were_hashed(own_folders):
    """Somebody exchanges an image between the fingerprint and the decoding."""
    dataset = one_bad_image(own_folders / "photos", "dog/1.png", b"")
    swapped = own_folders / "photos" / "dog" / "0.png"
    Image.new("RGB", (9, 9), "red").save(own_folders / "photos" / "dog" / "1.png")
    assert dataset.fingerprint
    Image.new("RGB", (9, 9), "green").save(swapped)
    with pytest.raises(InputError, match=r"dog/0\.png was changed while the images were read"):
        load_images(dataset, 16)
    assert not list((paths.CACHE / "images").glob("*.npy"))
    again = imagefolder(str(own_folders / "photos"))
    assert again.fingerprint != dataset.fingerprint
    green = load_images(again, 16)[again.names.index("dog/0.png")]
    assert (green == (0, 128, 0)).all()


def test_damaged_images_are_refused_though_pillow_was_told_to_read_them(own_folders, monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    dataset = few_digits()
    with pytest.raises(InputError, match="LOAD_TRUNCATED_IMAGES is on"):
        load_images(dataset, 8)
    assert not list(paths.CACHE.rglob("*.npy"))
