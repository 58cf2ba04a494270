"""Data sets by name: images with labels, in a fixed order."""

import gzip
import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from effnet_core import paths
from effnet_core.data.formats import why_not_whole
from effnet_core.data.remote import doubt, local
from effnet_core.errors import InputError
from effnet_core.files import package_folder
from effnet_core.study.design import Protocol

# Debian's package dataset-fashion-mnist.
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
FASHION_CLASSES = [
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
    *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
]


@dataclass(frozen=True)
class Dataset:
    """Images with labels.

    Attributes:
        classes: name of each class; a label is an index into it.
        labels: shape (N,), int64.
        names: a unique name for each image, shown in the report.
        subgroups: a further category per image (for `elpv` the cell type), or empty.
        images: N files, or the pixels themselves, shape (N, height, width), uint8.
        groups: shape (N,), int64. Images with the same number show the same object and stay in
            the same part of a split. None if every image is independent.
        official_test: shape (N,), bool: the test set that the authors name; None without one.
        left_out: files in the folder that are not images of a class.
        remarks: sentences about what is not evident of the classes and parts.
    """

    name: str
    classes: list[str]
    labels: np.ndarray
    names: list[str]
    subgroups: list[str]
    images: Sequence[Path] | np.ndarray
    groups: np.ndarray | None = None
    official_test: np.ndarray | None = None
    left_out: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over class names, image names, labels and the bytes of every image."""
        digest = hashlib.sha256("\0".join([*self.classes, *self.names]).encode())
        digest.update(self.labels.astype("<i8").tobytes())
        digest.update(b"".join(self.digests))
        return digest.hexdigest()

    @cached_property
    def digests(self) -> list[bytes]:
        """sha256 of the bytes of each image; decoding an image checks them again."""
        return [hashlib.sha256(content(image)).digest() for image in self.images]


def load_dataset(
    name: str, data_dir: str | None = None, labels: str | None = None, groups: str | None = None
) -> Dataset:
    """Load a data set by the name that a study uses; the other arguments are for `imagefolder`.

    Raises:
        InputError: unknown name, or the data cannot be found.
    """
    if name == "imagefolder":
        return imagefolder(data_dir, labels, groups)
    if data_dir or labels or groups:
        given = "data_dir" if data_dir else "labels" if labels else "groups"
        raise InputError(
            f"{given} is for dataset imagefolder only. Remove it, or the dataset {name}."
        )
    if name not in PACKAGED:
        known = ", ".join([*PACKAGED, "imagefolder"])
        raise InputError(f"There is no data set {name!r}. Data sets: {known}.")
    return PACKAGED[name]()


def dataset_of(protocol: Protocol) -> Dataset:
    """The data set of a study; raises as `load_dataset` does."""
    return load_dataset(protocol.dataset, protocol.data_dir, protocol.labels, protocol.groups)


def elpv() -> Dataset:
    """2,624 electroluminescence images of solar cells, 300 x 300, grey.

    Source: Buerhop-Lutz et al., "A Benchmark for Visual Identification of Defective Solar
    Cells in Electroluminescence Imagery", EU PVSEC 2018; images CC BY-NC-SA 4.0. A cell
    counts as defective when its defect probability is at least 0.5.
    """
    folder = package_folder("elpv_dataset", "elpv-dataset") / "data"
    import pandas as pd  # noqa: PLC0415  slow to import, and predictions need none

    table = pd.read_csv(
        folder / "labels.csv", sep=r"\s+", names=["path", "probability", "cell"], comment="#"
    )
    return Dataset(
        name="elpv",
        classes=["functional", "defective"],
        labels=(table["probability"] >= 0.5).to_numpy().astype(np.int64),
        names=[Path(path).stem for path in table["path"]],
        subgroups=table["cell"].tolist(),
        images=[folder / path for path in table["path"]],
    )


def fashion_mnist() -> Dataset:
    """70,000 images of ten kinds of clothing, 28 x 28, grey (Xiao et al., arXiv 1708.07747)."""
    folder = DEBIAN_FASHION_MNIST
    if not folder.is_dir():
        # Imported only for the download: pages read images without PyTorch.
        from torchvision.datasets import FashionMNIST  # noqa: PLC0415

        root = paths.CACHE / "datasets"
        try:
            FashionMNIST(root, download=True)
        except Exception as error:
            reason = " ".join(str(error).split())
            raise InputError(
                f"fashion_mnist could not be downloaded to {root} ({reason}). Connect to the "
                "internet once, or install Debian's package dataset-fashion-mnist."
            ) from None
        folder = root / "FashionMNIST" / "raw"
    parts = ("train", "t10k")
    pixels = [_idx(folder / f"{part}-images-idx3-ubyte.gz", header=16) for part in parts]
    labels = [_idx(folder / f"{part}-labels-idx1-ubyte.gz", header=8) for part in parts]
    dataset = _from_pixels(
        "fashion_mnist",
        FASHION_CLASSES,
        np.concatenate(pixels).reshape(-1, 28, 28),
        np.concatenate(labels),
    )
    return replace(dataset, official_test=np.repeat([False, True], [len(p) for p in labels]))


def digits() -> Dataset:
    """scikit-learn's 1,797 handwritten digits, 8 x 8, grey: small enough for tests."""
    from sklearn.datasets import load_digits  # noqa: PLC0415  slow to import, used by tests

    bunch = load_digits()
    pixels = (bunch.images * (255 / 16)).round().astype(np.uint8)
    return _from_pixels("digits", [str(digit) for digit in range(10)], pixels, bunch.target)


def imagefolder(
    data_dir: str | None, labels: str | None = None, groups: str | None = None
) -> Dataset:
    """Load your own images: one folder per class, or a table of paths and labels.

    Args:
        data_dir: folder with one folder per class. With `labels`, the folder that the paths are
            relative to, by default the folder of the table. Both may be URLs, see `remote.local`.
        labels: a CSV file, see `layout.tables`.
        groups: rule for images of the same object, see `layout.groups`.

    Raises:
        InputError: see `layout.folders`, `layout.tables` and `layout.groups`.
    """
    from effnet_core.data.layout import folders, part_columns, tables  # noqa: PLC0415  import pandas
    from effnet_core.data.layout.groups import objects_of  # noqa: PLC0415
    from effnet_core.data.layout.objects import recurring_objects  # noqa: PLC0415

    if not (labels or data_dir):
        raise InputError("dataset imagefolder needs data_dir: a folder with one folder per class.")
    places = [local(place) for place in (data_dir, labels) if place]
    try:
        if labels:
            table = places[-1]
            listing = tables.table(table, places[0] if data_dir else table.parent)
        else:
            listing = folders.class_folders(places[0])
    except InputError:
        for place in places:
            doubt(place)
        raise
    classes, numbers = np.unique(listing.kinds, return_inverse=True)
    parts, unused = part_columns.parts_of(listing.columns, groups)
    tests = np.array(parts) == "test"
    objects, alike = objects_of(listing, groups)
    recurring = recurring_objects(listing) if groups is None else []
    return Dataset(
        name="imagefolder",
        classes=classes.tolist(),
        labels=numbers.astype(np.int64),
        names=listing.names,
        subgroups=[],
        images=listing.files,
        groups=objects,
        official_test=tests if tests.any() else None,
        left_out=listing.left_out,
        remarks=[*listing.remarks, *unused, *alike, *recurring],
    )


PACKAGED: dict[str, Callable[[], Dataset]] = {
    "elpv": elpv,
    "fashion_mnist": fashion_mnist,
    "digits": digits,
}


def _from_pixels(name: str, classes: list[str], pixels: np.ndarray, labels: np.ndarray) -> Dataset:
    width = len(str(len(labels) - 1))
    return Dataset(
        name=name,
        classes=classes,
        labels=labels.astype(np.int64),
        names=[f"{name}-{index:0{width}d}" for index in range(len(labels))],
        subgroups=[],
        images=pixels,
    )


def content(image: Path | np.ndarray) -> bytes:
    """The bytes of an image file, or of pixels.

    Raises:
        InputError: the file cannot be read, or Pillow would not decode all of it.
    """
    if isinstance(image, np.ndarray):
        return image.tobytes()
    try:
        data = image.read_bytes()
    except OSError as error:
        raise InputError(
            f"{image} cannot be read ({error.strerror}). Make it readable, or move it away."
        ) from None
    if why := why_not_whole(data):
        raise InputError(f"{image} has {why}.")
    return data


def _idx(path: Path, header: int) -> np.ndarray:
    """The values of a compressed IDX file as a flat array of bytes.

    Args:
        header: length of the header, bytes.
    """
    try:
        return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read ({error}). Reinstall the data set.") from None
