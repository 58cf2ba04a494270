"""The commands `effnet predict` and `effnet export`: what is printed."""

import csv
import json
import sys
from contextlib import redirect_stdout
from dataclasses import asdict, fields

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from effnet_core.errors import InputError
from effnet_report.deploy import kept
from effnet_report.deploy.export import CARD, MODEL, export
from effnet_report.deploy.predict import Prediction, images_at, predict
from effnet_report.escaping import Terminal, cell, listed
from effnet_report.evidence.loader import load_design


def tell_predictions(study: str, places: list[str], form: str, console: Console) -> None:
    """Print the class of each image; `form` is table, json or csv.

    Raises:
        InputError: see `kept.load` and `predict`; or images cannot be read, which is said after
            the others.
    """
    errors = Terminal(stderr=True)
    # What is said while the model is calibrated is no part of the answer.
    with redirect_stdout(sys.stderr), Progress(console=errors, transient=True) as progress:
        load_design(study)  # a run may have to be trained for the weights: first what is typed
        there = images_at(places)
        model = kept.load(study)
        bar = progress.add_task("Looking at the images", total=None)
        found = predict(
            model, there, lambda done, of: progress.update(bar, completed=done, total=of)
        )
    if there.left_out:
        names = [str(path) for path in there.left_out]
        errors.print(escape(f"Left out, no images: {listed(names)}."))
    if form == "json":
        print(json.dumps([asdict(one) for one in found], indent=1))
    elif form == "csv":
        table = csv.writer(sys.stdout, lineterminator="\n")
        table.writerow(field.name for field in fields(Prediction))
        table.writerows(map(cell, vars(one).values()) for one in found)
    else:
        _print(model, found, console)
    bad = [one for one in found if one.error]
    if bad:
        reasons = "\n".join(one.error for one in bad)
        raise InputError(f"{reasons}\n{len(bad)} of {len(found)} images cannot be read.")


def tell_export(study: str, console: Console) -> None:
    """Export the kept model, and print where it is and how it agrees."""
    model = kept.load(study, console.print)
    with console.status("Calibrating, writing, comparing ..."):
        done = export(model)
    console.print(
        f"Run {model.record.run_id} of {model.study}, best on validation, is in {done.folder}: "
        f"{MODEL}; config.json and model.safetensors, which timm loads; and the model card {CARD}. "
        f"ONNX Runtime and PyTorch agree: on {done.images} test images their probabilities differ "
        f"by at most {done.difference:.1g}."
    )


def _print(model: kept.Kept, found: list[Prediction], console: Console) -> None:
    table = Table("image", "class", "probability", "")
    for one in found:
        word = "unlike the training images" if one.unlike else ""
        shown = "" if one.error else f"{100 * one.probability:.1f} %"
        table.add_row(
            escape(one.image), escape(one.label), shown, "unreadable" if one.error else word
        )
    console.print(table)
    known = model.calibration
    console.print(
        f"Run {model.record.run_id} of {model.study}, best on validation. Probabilities are "
        f"calibrated on its validation images (temperature {known.temperature:.2f}). {kept.RULE} "
        f"{100 * known.false_alarms:.1f} % of its {known.test_images} test images are, falsely."
    )
