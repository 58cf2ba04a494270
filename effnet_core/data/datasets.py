"""Data sets by name. Each is a list of images with labels, in an order that is fixed."""

import gzip
import hashlib
import unicodedata
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.files import package_folder

# Left by file managers; nobody means them as images.
IGNORED_NAMES = {"thumbs.db", "desktop.ini"}
# Debian's package dataset-fashion-mnist.
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@dataclass(frozen=True)
class Dataset:
    """Images with labels.

    Attributes:
        classes: name of each class; a label is an index into it.
        labels: shape (N,), int64.
        names: a unique name for each image, shown in the report.
        subgroups: a known kind of each image (for `elpv` the cell type), or empty.
        images: N files, or the pixels themselves, shape (N, height, width), uint8.
        groups: shape (N,), int64: images with one number show one object, and stay in one part
            of a split; None if each image stands for itself.
        official_test: shape (N,), bool: which images its authors keep for testing; None if they
            name none.
    """

    name: str
    classes: list[str]
    labels: np.ndarray
    names: list[str]
    subgroups: list[str]
    images: Sequence[Path] | np.ndarray
    groups: np.ndarray | None = None
    official_test: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def fingerprint(self) -> str:
        """sha256 over class names, image names, labels and the bytes of every image."""
        digest = hashlib.sha256("\0".join([*self.classes, *self.names]).encode())
        digest.update(self.labels.astype("<i8").tobytes())
        for image in self.images:
            digest.update(hashlib.sha256(_bytes(image)).digest())
        return digest.hexdigest()


def load_dataset(name: str, data_dir: str | None = None) -> Dataset:
    """A data set by the name that a study uses.

    Raises:
        InputError: unknown name, or the data are not where they should be.
    """
    if name == "imagefolder":
        return imagefolder(data_dir)
    if data_dir is not None:
        raise InputError(f"data_dir goes with dataset imagefolder; dataset {name} needs none.")
    if name not in PACKAGED:
        known = ", ".join([*PACKAGED, "imagefolder"])
        raise InputError(f"There is no data set {name!r}. Data sets: {known}.")
    return PACKAGED[name]()


def elpv() -> Dataset:
    """2,624 electroluminescence images of solar cells, 300 x 300, grey.

    Source: Buerhop-Lutz et al., "A Benchmark for Visual Identification of Defective Solar
    Cells in Electroluminescence Imagery", EU PVSEC 2018; images CC BY-NC-SA 4.0. A cell
    counts as defective when its defect probability is at least 0.5.
    """
    folder = package_folder("elpv_dataset", "elpv-dataset") / "data"
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
    from torchvision.datasets import FashionMNIST  # noqa: PLC0415  2 s, and only for this one

    folder = DEBIAN_FASHION_MNIST
    if not folder.is_dir():
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
        list(FashionMNIST.classes),
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


def imagefolder(data_dir: str | None) -> Dataset:
    """Images of your own: one folder a class, `data_dir/<class>/<any depth>/<image>`.

    A class folder and an image may be links; a folder inside a class may not, as links can
    lead in circles.

    Raises:
        InputError: the folder is missing or empty, has one class, or a class without images;
            something in it is neither a file nor a folder; a name can not be written down.
    """
    if not data_dir:
        raise InputError("dataset imagefolder needs data_dir: a folder with one folder a class.")
    root = Path(data_dir).expanduser()
    if not root.is_dir():
        raise InputError(
            f"data_dir {data_dir} is not a folder. Give the folder that holds the classes."
        )
    folders = sorted(path for path in root.iterdir() if path.is_dir() and _counts(path))
    for folder in folders:
        _check_name(folder)
    if len(folders) < 2:
        raise InputError(
            f"data_dir {data_dir} holds {len(folders)} class folders; at least 2 are needed: "
            "data_dir/<class>/<images>."
        )
    files: list[Path] = []
    labels: list[int] = []
    for label, folder in enumerate(folders):
        inside = (path for path in folder.rglob("*") if _counts(path))
        found = sorted(path for path in inside if not _is_folder(path))
        if not found:
            raise InputError(f"Class folder {folder} is empty. Add images or remove the folder.")
        files += found
        labels += [label] * len(found)
    return Dataset(
        name="imagefolder",
        classes=[folder.name for folder in folders],
        labels=np.array(labels, dtype=np.int64),
        names=[file.relative_to(root).as_posix() for file in files],
        subgroups=[],
        images=files,
    )


def _is_folder(path: Path) -> bool:
    """Whether a path inside a class is a folder and not an image.

    Raises:
        InputError: it is neither, so images would be left out silently; or no table could
            hold its name, for control characters or bytes that are not UTF-8.
    """
    _check_name(path)
    if path.is_file():
        return False
    if path.is_dir() and not path.is_symlink():
        return True
    raise InputError(
        f"{path} is neither an image nor a folder: a link to a folder, a link to nothing, or a "
        "special file. Put the images themselves there, or move it out of the data folder."
    )


def _check_name(path: Path) -> None:
    if any(unicodedata.category(letter) in ("Cc", "Cs") for letter in path.name):
        raise InputError(f"{str(path)!r} has a name that can not be written down. Rename it.")


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


def _counts(path: Path) -> bool:
    return not path.name.startswith(".") and path.name.lower() not in IGNORED_NAMES


def _bytes(image: Path | np.ndarray) -> bytes:
    if isinstance(image, np.ndarray):
        return image.tobytes()
    try:
        return image.read_bytes()
    except OSError as error:
        raise InputError(
            f"{image} can not be read ({error.strerror}). Make it readable, or move it away."
        ) from None


def _idx(path: Path, header: int) -> np.ndarray:
    """The values of a compressed IDX file (bytes, after a header of so many), flat."""
    try:
        return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} can not be read ({error}). Reinstall the data set.") from None
