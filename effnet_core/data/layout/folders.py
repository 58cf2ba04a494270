"""List your own images from one folder per class."""

from pathlib import Path

import pandas as pd

from effnet_core.data.formats import is_image
from effnet_core.data.layout.companions import versions
from effnet_core.data.layout.doubts import (
    check_not_pieces,
    check_only_photos,
    few_doubted_photos,
)
from effnet_core.data.layout.layers import check_layers, doubted_layers, joined_folders
from effnet_core.data.layout.listing import Listing
from effnet_core.data.layout.parts import may_be_a_class, part_of, parts_among, parts_inside
from effnet_core.data.layout.sets import sets_of_versions
from effnet_core.data.layout.walk import is_litter, only_readable, subfolders, walk
from effnet_core.data.names import check_distinct, nearly_alike, normalised
from effnet_core.errors import InputError


def class_folders(root: Path) -> Listing:
    """List the images `root/<class>/<any depth>/<image>`, inside folders that hold only one folder.

    Class folders and images may be links. Folders inside a class may not, because links can form
    loops.

    Raises:
        InputError: the folder is missing, has fewer than two classes, a class without images, or
            parts such as `train` instead of classes; a file cannot be read; two classes look
            alike; or the folders are no classes, see `doubts` and `layers`.
    """
    if not root.is_dir():
        raise InputError(
            f"data_dir {root} is not a folder. Give the folder that holds the classes."
        )
    root = unwrapped(root)
    folders = subfolders(root)
    parts = parts_among([folder.name for folder in folders])
    if len(parts) > 1 or len(parts) == len(folders) == 1:
        raise InputError(
            f"data_dir {root} holds parts of a data set ({', '.join(parts)}), not classes. "
            f"`effnet new NAME --images {root}` puts them together; or give one of them."
        )
    if len(folders) < 2:
        raise InputError(
            f"data_dir {root} holds {len(folders)} class folders; at least 2 are needed: "
            "data_dir/<class>/<images>."
        )
    below = only_readable(walk(root))
    within = {path: path.relative_to(root).parts for path in below.images}
    files = [path for path in below.images if len(within[path]) > 1]
    filled = {within[path][0] for path in files}
    for folder in folders:
        if folder.name not in filled:
            other = [str(path) for path in below.left_out if path.is_relative_to(folder)]
            but = f", but other files, such as {other[0]}" if other else ""
            raise InputError(
                f"Class folder {folder} is empty: it holds no images{but}. Add images, convert "
                "the files to JPEG or PNG, or remove the folder."
            )
    for name, part in parts.items():  # at most one
        if not may_be_a_class(name):
            raise InputError(
                f"{root / name} looks like a part of a data set (for {part}), not like a class. "
                "Move it out of the folder; or rename it if it is a class."
            )
        if all(len(within[path]) > 2 for path in files if within[path][0] == name):
            raise InputError(
                f"{root / name} looks like a part of a data set with class folders in it, not "
                f"like a class. Give data_dir {root / name}; or rename it if it is a class."
            )
    remarks = [
        f"Look twice: {name} is a class here, beside others. If it is a part of the data set, move "
        "it out of the folder."
        for name in parts
    ]
    names = [path.relative_to(root).as_posix() for path in files]
    if inside := parts_inside(names):
        raise InputError(
            f"data_dir {root} holds parts of a data set inside of its classes, such as "
            f"{inside[0]}. `effnet new NAME --images {root}` puts them together if all classes "
            "have them; or rename the folder."
        )
    kinds = [normalised(within[path][0]) for path in files]
    check_distinct(f"data_dir {root}", kinds)
    check_only_photos(root, names)
    check_not_pieces(root, sorted(filled), names)
    check_layers(root, names)
    remarks += [
        *joined_folders(folder.name for folder in folders),
        *nearly_alike(kinds),
        *versions(names),
        *sets_of_versions(names),
        *few_doubted_photos(names),
        *doubted_layers(names),
    ]
    loose = [path for path in below.images if len(within[path]) == 1]
    aside = [path.relative_to(root).as_posix() for path in (*loose, *below.left_out)]
    return Listing(kinds, names, files, pd.DataFrame(index=names), aside, remarks)


def class_names(root: Path) -> list[str]:
    """The classes that folders name, sorted, without a look at the images.

    Raises:
        InputError: the folder cannot be read.
    """
    return sorted({normalised(folder.name) for folder in subfolders(unwrapped(root))})


def unwrapped(root: Path) -> Path:
    """Find the folder with the classes inside folders that hold nothing else, as archives do."""
    inside = subfolders(root)
    if len(inside) != 1 or part_of(inside[0].name) or not subfolders(inside[0]):
        return root
    beside = (path for path in root.iterdir() if path.is_file() and not is_litter(path))
    return root if any(map(is_image, beside)) else unwrapped(inside[0])
