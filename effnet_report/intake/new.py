"""The command `effnet new`: inspect a folder, print a summary, write a study."""

import math
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from effnet_core import files, paths
from effnet_core.data.datasets import Dataset
from effnet_core.data.duplicates import describe_no_part
from effnet_core.data.layout.walk import can_be_written, walk
from effnet_core.data.names import is_not_known
from effnet_core.data.splits import across_official_test
from effnet_core.errors import InputError
from effnet_core.study.design import is_url
from effnet_report.escaping import listed
from effnet_report.intake import layouts, sheet
from effnet_report.intake import study as studies
from effnet_report.intake.look import COMPARED, Look, look
from effnet_report.intake.naming import check_new_name
from effnet_report.intake.options import RULE, Option
from effnet_report.intake.weigh import factors
from effnet_report.numbers import duration, number

SHEET = "contact-sheet.jpg"
CLASSES = 100  # rows of the printed table


def new(
    name: str,
    images: Path,
    *,
    labels: Path | None,
    groups: str | None,
    hours: float,
    ask: str,
    console: Console,
    backbone: str | None = None,
    device: str | None = None,
) -> None:
    """Inspect images and write `studies/NAME.yml` and a contact sheet.

    Raises:
        InputError: the name is taken, the layout is not understood, or images cannot be read (the
            output names all of them). No study is written.
    """
    wishes = studies.Wishes(hours, factors(ask), backbone, device)
    _check(name, images, labels)
    table, root, remark = layouts.tabulate(name, images, labels)
    source = {"data_dir": studies.relative(root)}
    copy = paths.STUDIES / f"{name}.csv"
    own = labels is not None and labels.resolve() == copy.resolve()
    made: dict[Path, bytes] = {}  # files that an error removes, if they hold these bytes
    if table is not None:
        source["labels"] = copy.name
        if not own:
            _check_free(copy)
    if groups is not None:
        source["groups"] = groups
    try:
        with _ended_as_by_ctrl_c():
            if table is not None and not own:
                studies.create(copy, table.to_csv(index=False).encode(), made)
            draft = _study(name, source, remark, wishes, console=console, made=made)
    except BaseException as error:  # includes Ctrl-C; no partial file stays
        for path, data in made.items():
            if path.is_file() and path.read_bytes() == data:
                path.unlink()
        if isinstance(error, InputError):
            own_name = f"labels {labels or images}"
            raise InputError(str(error).replace(f"labels {copy}", own_name)) from None
        raise
    tell_choice(draft, hours, console)
    console.print(f"Next: `make report STUDY={name}`, or `effnet sweep {name}`.")


@contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """Let the signals of `timeout` and of a closed terminal raise, as that of Ctrl-C does."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    # `nohup` has a command ignore the second one.
    before = {n: how for n in numbers if (how := signal.getsignal(n)) == signal.SIG_DFL}
    for ends in before:
        signal.signal(ends, signal.default_int_handler)
    try:
        yield
    finally:
        for ends, handler in before.items():
            signal.signal(ends, handler)


def _check_free(copy: Path) -> None:
    """Make sure that the table of the study replaces no file."""
    if copy.exists():
        raise InputError(
            f"{copy} exists already and belongs to another study. Choose another name, or move it. "
            f"To use it as the table of labels, give --labels {copy}."
        )


def _study(
    name: str,
    source: dict[str, str],
    remark: str,
    wishes: studies.Wishes,
    *,
    console: Console,
    made: dict[Path, bytes],
) -> studies.Draft:
    dataset = studies.images_of(source)
    if "labels" in source:
        left_out = _not_named(paths.STUDIES / source["data_dir"], dataset)
        dataset = replace(dataset, left_out=left_out)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("Looking at the images", total=len(dataset))
        seen = look(dataset, lambda done: progress.update(bar, completed=done))
    tell(dataset, seen, remark, console)
    if len(seen.unreadable):
        raise InputError(
            f"{len(seen.unreadable)} images cannot be read (listed above). Replace them, or move "
            "them out of the folder; no study was written."
        )
    with console.status("Timing a few training steps ..."):
        draft = studies.write(name, dataset, seen, source, wishes, made=made)
    place = paths.records(name) / SHEET
    numbered = sheet.save(dataset, draft.study.protocol, place)
    console.print(f"Contact sheet: {os.path.relpath(place)}")
    for place_there, kind in numbered.items():
        console.print(
            f"Class {escape(kind)} appears as number {place_there} on the contact sheet, because "
            "no font on this machine has its letters."
        )
    return draft


def _check(name: str, images: Path, labels: Path | None) -> None:
    check_new_name(name)
    for folder in (paths.STUDIES, paths.RESULTS):
        files.check_writable(folder)
    for given in filter(None, (images, labels)):
        if is_url(str(given).replace(":/", "://", 1)):  # a path holds no two slashes
            raise InputError(
                "`effnet new` reads folders and tables of this machine, not a URL. Download them "
                "first, or name the URL as data_dir in a study."
            )
    if not images.is_dir():
        raise InputError(f"{images} is not a folder. Give the folder that holds the images.")
    if not can_be_written(str(images.resolve())):
        raise InputError(f"{str(images)!r} has a name that cannot be written down. Rename it.")
    _check_no_leftovers(name)


def _check_no_leftovers(name: str) -> None:
    """Make sure that no files of an earlier study with this name would count for the new one."""
    made = {SHEET, ".gitignore"}
    places = {
        paths.records(name): [p for p in paths.records(name).glob("*") if p.name not in made],
        paths.executed(name): list(paths.executed(name).glob("*")),
    }
    # Variants too: runs of the study with another setting, such as fewer images.
    variants = [*paths.RESULTS.glob(f"{name}~*"), *paths.executed(name).parent.glob(f"{name}~*")]
    places |= {folder: [folder] for folder in sorted(variants)}
    places |= {
        folder: [folder]
        for pattern in (name, f"{name}~*")
        for folder in sorted(paths.CACHE.glob(f"*/{pattern}"))
        if folder.parent.name in ("checkpoints", "epochs", "weights")
    }
    left = [
        str(place)
        for place, inside in places.items()
        if any(path.is_file() for it in inside for path in (it, *it.rglob("*")))
    ]
    if left:
        raise InputError(
            f"An earlier study {name!r} left records or weights in {', '.join(left)}, which would "
            "count for the new study. Choose another name, or move or delete them."
        )


def _not_named(root: Path, dataset: Dataset) -> list[str]:
    """Files in a folder that are not in the table of its images."""
    walked = walk(root)
    named = {os.path.realpath(image) for image in dataset.images if isinstance(image, Path)}
    others = [path for path in walked.images if os.path.realpath(path) not in named]
    beside = (*others, *walked.refused, *walked.left_out)
    return [path.relative_to(root).as_posix() for path in beside]


def tell(dataset: Dataset, seen: Look, remark: str, console: Console) -> None:
    """Print a summary of the images."""
    counts = seen.images["class"].value_counts()
    console.print(f"{len(dataset)} images, {len(dataset.classes)} classes:")
    table = Table("class", "images")
    for kind, count in counts.head(CLASSES).items():
        table.add_row(escape(str(kind)), str(count))
    if (more := counts.iloc[CLASSES:]).size:
        table.add_row(f"{more.size} more classes", f"{more.min()} to {more.max()} each")
    console.print(table)
    for name in filter(is_not_known, dataset.classes):
        console.print(
            f"[yellow]Class {escape(name)} looks like a missing label:[/] leave its images out "
            "unless the model should learn to recognise them."
        )
    sound = seen.images[seen.images["error"] == ""]
    sides = sound[["width", "height"]]
    console.print(
        f"Formats: {_counted(sound['format'])}. Colour modes: {_counted(sound['mode'])}. "
        f"Transparent: {int(sound['transparent'].sum())}."
    )
    films = sound.loc[sound["frames"] > 1, "name"].tolist()
    if films:
        console.print(
            f"Of {len(films)} animations the first frame is used: {escape(listed(films))}."
        )
    if len(sides):
        low, high = sides.min(axis=1).idxmin(), sides.max(axis=1).idxmax()
        small, large = (f"{sides['width'][i]} x {sides['height'][i]}" for i in (low, high))
        console.print(f"Sizes: from {small} to {large}, median short side "
                      f"{sides.min(axis=1).median():.0f} pixels.")  # fmt: skip
    if remark:
        console.print(escape(remark))
    for sentence in dataset.remarks:
        console.print(escape(sentence))
    if dataset.left_out:
        console.print(
            f"Left out, not images of a class: {len(dataset.left_out)} files or folders, "
            f"{escape(listed(dataset.left_out))}."
        )
    if dataset.official_test is not None:
        images = int(dataset.official_test.sum())
        no_part = describe_no_part(dataset, seen.first_of_equals)
        console.print(_test_set(dataset, images, no_part))
    if dataset.groups is not None:
        console.print(f"Groups: {len(set(dataset.groups.tolist()))} objects, each in one part.")
    _tell_twins(seen.twins, len(dataset), console)
    for row in seen.unreadable.itertuples():
        console.print(f"[red]Cannot be read:[/] {escape(row.name)}: {escape(row.error)}")


def _test_set(dataset: Dataset, images: int, no_part: str) -> str:
    """A sentence about the test set that the data name."""
    if studies.tests_officially(dataset):
        return (
            f"The data set's own test set of {images} images is kept; every seed draws its "
            f"training and validation images from the other images.{no_part}"
        )
    if torn := across_official_test(dataset):
        return (
            f"The data set's own test set cannot be kept: {len(torn)} objects have images both in "
            f"it and outside, such as that of {escape(dataset.names[torn[0]])}. All parts are put "
            "together, and every seed draws its own training, validation and test images."
        )
    return (
        "The data set's own test set cannot be kept: at least one class has no image in it, or no "
        "image outside it. All parts are put together, and every seed draws its own training, "
        "validation and test images."
    )


def _tell_twins(twins: pd.DataFrame, images: int, console: Console) -> None:
    for identical, word in ((True, "identical"), (False, "nearly identical")):
        alike = twins[twins["identical"] == identical]
        if len(alike):
            across = alike[alike["across"]]
            pairs = [f"{row.first} = {row.second}" for row in alike.itertuples()]
            console.print(
                f"{len(alike)} images look {word} to an earlier one"
                f" ({len(across)} in another class): {escape(listed(pairs))}."
            )
            if identical and len(across):
                pairs = [f"{row.first} = {row.second}" for row in across.itertuples()]
                console.print(
                    "[yellow]The same image is in two classes:[/] keep it only in the right one."
                    f" {escape(listed(pairs))}."
                )
    if images > COMPARED:
        console.print(f"Only the first {COMPARED} images were compared with each other.")


def tell_choice(draft: studies.Draft, hours: float, console: Console) -> None:
    """Print which study was chosen and why, and what other hours would answer."""
    runs, time = len(list(draft.study.runs())), duration(3600 * draft.chosen.hours)
    console.print(f"Wrote {os.path.relpath(draft.path)}: {runs} runs, about {time} here.")
    protocol = draft.study.protocol
    console.print(f"Network: {protocol.backbone}, {draft.why}; device: {protocol.device}.")
    if not draft.fits:
        console.print(
            f"[yellow]Even the smallest useful study takes more than {hours:g} h.[/] Allow more "
            "with --hours, or train on a faster machine."
        )
    columns = ("hours", "frozen stages", "seeds", "images", "pixels", "epochs", "95 % interval")
    table = Table(
        *columns, title="What a study of these images would answer within other time limits"
    )
    for limit, option in draft.alternatives.items():
        fits = option.hours <= limit
        table.add_row(
            f"{limit:g}, chosen" if limit == hours else f"{limit:g}",
            ", ".join(map(str, option.depths)),
            str(option.seeds),
            str(option.images or "all"),
            str(option.image_size),
            str(option.epochs),
            _interval(option) if fits else "does not fit",
            style="bold" if limit == hours else "",
        )
    console.print(table)
    basis = (
        f"takes the variance of the published studies {listed(draft.like)}"
        if draft.like
        else "assumes that two depths disagree on one image in ten"
    )
    console.print(
        "The interval is for the change of accuracy by freezing, at each of these depths. It is a "
        f"forecast, which {basis}; your images may differ. {RULE}"
    )
    if draft.chosen.seeds == 1:
        console.print(
            "[yellow]One seed cannot show how much trainings differ:[/] the study gives no "
            "interval, and cannot tell whether freezing changes the accuracy."
        )
    if draft.study.protocol.criterion == "balanced_accuracy":
        console.print(
            f"A class has more than {studies.UNEVEN} times as many images as another. The "
            "study's criterion is balanced accuracy, in which every class counts the same."
        )


def _interval(option: Option) -> str:
    if math.isinf(option.half_width):
        return "none"
    return f"\u00b1 {number(option.half_width)} points"


def _counted(values: pd.Series) -> str:
    return ", ".join(f"{count} {value}" for value, count in values.value_counts().items()) or "none"
