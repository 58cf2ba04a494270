"""Read in the headers of image files what Pillow does not tell: depth of colour, and channels.

Pillow reduces deep colours of these formats to 8 bits, which turns many images nearly black, and
takes a fourth channel such as infrared for transparency.
"""

import re

DEEP = "more than 8 bits a channel; convert it to 8 bits"
CHANNELS = (
    "more channels than colours and declared transparency; keep the ones that count, or save it "
    "as PNG"
)

CODESTREAM = b"\xff\x4f\xff\x51"  # of JPEG 2000: its first two markers
JPEG2000 = (b"\0\0\0\x0cjP  ", CODESTREAM)
COMPONENTS = 40  # of a codestream: where the number of its channels stands, see ISO 15444-1, A.5.1
CMYK = b"\0\0\0\x0c"  # a colour space of JP2
OPACITY = {1, 2}  # types of a channel in JP2: straight and premultiplied
DDS, DX10, FLOATS = b"DDS ", b"DX10", {94, 95, 96}  # BC6H, whose values are floating-point numbers
HIGH_BIT_DEPTH = 0x40  # in the third byte of the AVIF box av1C


def hidden_loss(data: bytes) -> str:
    """What decoding a JPEG 2000, AVIF or DDS file would lose silently; mostly empty.

    Args:
        data: the file, or at least its headers.
    """
    if data.startswith(JPEG2000):
        return _of_jpeg2000(data)
    if data[4:8] == b"ftyp":  # AVIF, whose pixels may stand before its description
        boxes, _, pixels = data.partition(b"mdat")
        found = re.findall(b"av1C\x81.(.)", boxes if b"av1C" in boxes else pixels, re.DOTALL)
        return DEEP if any(flags[0] & HIGH_BIT_DEPTH for flags in found) else ""
    if data.startswith(DDS) and data[84:88] == DX10:
        return DEEP if _number(data[128:132][::-1]) in FLOATS else ""
    return ""


def _of_jpeg2000(data: bytes) -> str:
    boxes, mark, stream = data.partition(CODESTREAM)
    stream = mark + stream
    channels = _number(stream[COMPONENTS : COMPONENTS + 2])
    depths = stream[COMPONENTS + 2 : COMPONENTS + 2 + 3 * channels : 3]
    if any((depth & 0x7F) + 1 > 8 for depth in depths):  # the first bit says that it is signed
        return DEEP
    colours = 1 if channels < 3 else 3
    colour_space = boxes.partition(b"colr\x01")[2]
    if colour_space[2:6] == CMYK:
        colours = 4
    return CHANNELS if channels > colours + _opacities(boxes) else ""


def _opacities(boxes: bytes) -> int:
    """How many channels of a JP2 file are said to be transparency."""
    defined = boxes.partition(b"cdef")[2]
    entries = (defined[2 + 6 * n : 8 + 6 * n] for n in range(_number(defined[:2])))
    return sum(_number(entry[2:4]) in OPACITY for entry in entries)


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big")
