"""The commands `effnet predict` and `effnet export`: what is printed."""

import csv
import io
import json
import os
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from effnet_core import files
from effnet_core.errors import InputError
from effnet_report.deploy import kept
from effnet_report.deploy.calibration import RECALL
from effnet_report.deploy.predict import TOGETHER, Look, Prediction, images_at, predict
from effnet_report.escaping import Terminal, cell, listed
from effnet_report.evidence.loader import load_design
from effnet_report.render import cards
from effnet_report.render.heat import overlay

LONGEST_STEM = 200  # bytes; file systems allow 255, and the number and the ending need some


def tell_predictions(
    study: str,
    places: list[str],
    form: str,
    console: Console,
    *,
    page: Path | None = None,
    maps: Path | None = None,
    never_miss: str | None = None,
) -> None:
    """Say the class of each image as soon as it is known; `form` is table, json or csv.

    Args:
        page: HTML file of all images with their classes, for a browser.
        maps: folder for pictures of where each image speaks for its class.
        never_miss: name of a class that should rarely be missed.

    Raises:
        InputError: see `kept.load` and `predict`; there is no such class; the page would replace
            another file, or the maps would lie among the images; or images cannot be read, which
            is said after the others.
    """
    errors = Terminal(stderr=True)
    load_design(study)  # a run may have to be trained for the weights: first what is typed
    if page:
        cards.check_replaceable(page)
    walked = images_at(places)
    if maps:
        _check_apart(maps, walked.images)
    # What is said while the model is calibrated is no part of the answer.
    with redirect_stdout(sys.stderr):
        model = kept.load(study, errors.print)
        watched = _class(model, never_miss)
        _ = model.calibration
    about = _about(model, watched)
    if walked.left_out:
        names = [str(path) for path in walked.left_out]
        errors.print(escape(f"Left out, no images: {listed(names)}."))
    bad: list[str] = []
    images = len(walked.images) + len(walked.refused)
    with _bar(errors, images, form) as bar:
        looks = bar.track(predict(model, walked, bool(page or maps), watched), total=images)
        looks = _unreadable(looks, bad)
        if maps:
            looks = _save_maps(looks, maps, errors)
        printed = _as_table(looks, console) if form == "table" else WRITERS[form](looks)
        if page:
            pieces = cards.page(f"{images} images by {study}", [about], map(_card, printed))
            with files.replaced(page) as partial, partial.open("w", encoding="utf-8") as file:
                file.writelines(pieces)
        deque(printed, maxlen=0)
    if form == "table":
        console.print(escape(about))
    elif watched is not None:
        errors.print(escape(_watched(model, watched)))
    if bad:
        reasons = "\n".join(bad)
        raise InputError(f"{reasons}\n{len(bad)} of {images} images cannot be read.")


def _check_apart(maps: Path, images: list[Path]) -> None:
    """Make sure that pictures of maps do not lie among the photos, where they would be read."""
    folder = maps.resolve()
    inside = next((path for path in images if path.resolve().is_relative_to(folder)), None)
    if inside:
        raise InputError(
            f"{maps} holds the image {inside}, and maps in this folder would be taken for photos. "
            "Give the maps another folder."
        )


def _bar(errors: Console, images: int, form: str) -> Progress:
    """How far it is, unless the terminal fills with lines anyway; never in what is written."""
    quiet = images <= TOGETHER or (form != "table" and sys.stdout.isatty())
    return Progress(
        console=errors,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=False,
        disable=quiet,
    )


def _unreadable(looks: Iterable[Look], bad: list[str]) -> Iterator[Look]:
    for look in looks:
        if look.prediction.error:
            bad.append(look.prediction.error)
        yield look


def _save_maps(looks: Iterable[Look], folder: Path, errors: Console) -> Iterator[Look]:
    """One picture per image, named after it; numbers tell images of the same name apart.

    Another file of that name is renamed.
    """
    for number, look in enumerate(looks, start=1):
        if look.view is not None and look.heat is not None:
            both = np.hstack([look.view, overlay(look.view, look.heat)])
            buffer = io.BytesIO()
            Image.fromarray(both).save(buffer, "PNG")
            stem = Path(look.prediction.image).stem
            while len(os.fsencode(stem)) > LONGEST_STEM:
                stem = stem[:-1]
            path, picture = folder / f"{number:04d}-{stem}.png", buffer.getvalue()
            if earlier := files.set_aside(path, picture):
                errors.print(escape(f"The earlier {path} differs and is now {earlier}."))
            files.write(path, picture)
        yield look


def _card(look: Look) -> cards.Card:
    answer = look.prediction
    if look.view is None:
        return cards.Card(answer.image, "unreadable", notes=[answer.error])
    views = [look.view]
    if look.heat is not None:
        views.append(overlay(look.view, look.heat))
    notes = ["unlike the training images"] if answer.unlike else []
    return cards.Card(answer.image, answer.label, views, look.shares, notes)


def _as_json(looks: Iterable[Look]) -> Iterator[Look]:
    separator = "["
    for look in looks:
        text = json.dumps(asdict(look.prediction), indent=1)
        print(f"{separator}\n{text}", end="", flush=True)
        separator = ","
        yield look
    print("\n]")


def _as_csv(looks: Iterable[Look]) -> Iterator[Look]:
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(field.name for field in fields(Prediction))
    for look in looks:
        table.writerow(map(cell, vars(look.prediction).values()))
        yield look


def _as_table(looks: Iterable[Look], console: Console) -> Iterator[Look]:
    table = Table("image", "class", "probability", "")
    for look in looks:
        answer = look.prediction
        word = (
            "unreadable" if answer.error else "unlike the training images" if answer.unlike else ""
        )
        shown = "" if answer.error else f"{100 * answer.probability:.1f} %"
        table.add_row(escape(answer.image), escape(answer.label), shown, word)
        yield look
    console.print(table)


WRITERS = {"json": _as_json, "csv": _as_csv}


def _about(model: kept.Kept, watched: int | None) -> str:
    temperature = model.calibration.stated.temperature
    return (
        f"The model comes from run {model.record.run_id} of the study {model.study}, the best run "
        "on validation images. Probabilities are calibrated on its validation images (temperature "
        f"{temperature:.2f}). "
        f"{model.calibration.stated.trust} {model.calibration.reliability()}"
    ) + ("" if watched is None else f" {_watched(model, watched)}")


def _class(model: kept.Kept, name: str | None) -> int | None:
    """The index of a class that is named; None for no name."""
    if name is None:
        return None
    if name not in model.classes:
        raise InputError(
            f"The model of {model.study} knows no class {name!r}. Its classes are "
            f"{', '.join(model.classes)}."
        )
    return model.classes.index(name)


def _watched(model: kept.Kept, kind: int) -> str:
    """From which probability on an image is called a class, and how well that works."""
    # It imports SciPy, which no other prediction needs.
    from effnet_report.inference.comparison import accuracy_interval  # noqa: PLC0415

    threshold = model.calibration.stated.thresholds[kind]

    def share(images: int, total: int, what: str) -> str:
        percent = 100 * images / total
        low, high = accuracy_interval(percent, total)
        return f"{images} of {total} {what} ({percent:.1f} %, 95 % CI {low:.1f} to {high:.1f})"

    name = model.classes[kind]
    return (
        f"An image is called {name} if its probability of this class is at least "
        f"{100 * threshold.probability:.1f} %. "
        f"Of all thresholds up to one half that find {100 * RECALL:.0f} % of the "
        f"{threshold.validation_images} "
        f"validation images of {name}, this one raises the fewest false alarms. On the test set it "
        f"finds {share(threshold.found, threshold.images, f'images of {name}')}, and gives "
        f"{share(threshold.false_alarms, threshold.others, 'other images')} this name by mistake."
    )


def tell_export(study: str, console: Console) -> None:
    """Export the kept model, and print where it is and how it agrees."""
    # It imports what else only a training needs.
    from effnet_report.deploy.export import CARD, MODEL, export  # noqa: PLC0415

    model = kept.load(study, console.print)
    with console.status("Calibrating, writing, comparing ..."):
        done = export(model)
    where = os.path.relpath(done.folder)
    console.print(
        f"Run {model.record.run_id} of {model.study}, best on validation, is in {where}: "
        f"{MODEL}; config.json and model.safetensors, which timm loads; and the model card {CARD}. "
        f"ONNX Runtime and PyTorch agree: on {done.images} test images their probabilities differ "
        f"by at most {done.difference:.1g}."
    )
