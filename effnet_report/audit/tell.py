"""The command `effnet audit`: what it prints, and the files that it leaves."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from effnet_core import files, paths
from effnet_core.data.datasets import Dataset
from effnet_core.data.images import decode
from effnet_core.study.design import Protocol
from effnet_report.audit.cues import cues, look, twins
from effnet_report.audit.judgements import Judgements, judgements
from effnet_report.escaping import label_cell, path_cell
from effnet_report.evidence import evidence
from effnet_report.evidence.pictures import pictures
from effnet_report.render import cards

GROUP = "group"  # column of the table
PATHS = ["path", "twin", "one", "other"]  # columns of image names
LABELS, SHEET, CUES, TWINS = "labels.csv", "suspects.html", "cues.csv", "twins.csv"
PRINTED, SHOWN, SIDE = 10, 60, 160  # rows; cards; pixels


def audit(study: str, console: Console) -> None:
    """Rank a study's labels by doubt, and write what is needed to correct them.

    Args:
        study: a folder of records, such as `quick`.

    Raises:
        InputError: no run has finished, or the extra `audit` is not installed.
    """
    study_evidence = evidence.load(study)
    judged = judgements(study_evidence)
    suspects, dataset = judged.suspects, pictures(study_evidence)
    folder = paths.records(study_evidence.design.name) / "audit"
    _print_suspects(judged, console)
    if dataset is None:
        _write(folder / LABELS, _csv(labels_table(suspects)), console)
        console.print(
            "The images are not on this machine: copies and cues were not looked for. All labels, "
            f"the most doubtful first: {folder / LABELS}"
        )
        return
    with console.status("Looking at the images ..."):
        facts, squares = look(dataset)
        pairs = twins(dataset, squares)
        known = cues(judged, facts)
    tables = {LABELS: labels_table(suspects, dataset, pairs), TWINS: pairs, CUES: known}
    for name, table in tables.items():
        _write(folder / name, _csv(table), console)
    shown = suspects[suspects["suspected"]].head(SHOWN)
    title = f"{study_evidence.design.title}: labels to check"
    made = _cards(shown, dataset, study_evidence.design.protocol, pairs)
    page = "".join(cards.page(title, [_summary(judged)], made))
    _write(folder / SHEET, page.encode(), console)
    for sentence in [*_twins_in_words(pairs), *_cues_in_words(judged, known)]:
        console.print(escape(sentence))
    console.print(
        f"The first {len(shown)} suspects as a page: {folder / SHEET}. All labels, the most "
        f"doubtful first: {folder / LABELS}. Correct its column `label`, then: effnet new "
        f"corrected --images FOLDER --labels {folder / LABELS}"
        + (f" --groups {GROUP}" if dataset.groups is not None else ""),
        soft_wrap=True,
    )


def labels_table(
    suspects: pd.DataFrame, dataset: Dataset | None = None, pairs: pd.DataFrame | None = None
) -> pd.DataFrame:
    """All images with their labels, the most doubtful first, as `effnet new --labels` reads them.

    Those that no run judged stand at the end.
    """
    table = suspects.rename(columns={"image": "path"})
    if pairs is not None:
        alike = pd.concat([pairs.set_index("one")["other"], pairs.set_index("other")["one"]])
        table["twin"] = table["path"].map(alike[~alike.index.duplicated()])
    if dataset is not None:
        classes = [dataset.classes[label] for label in dataset.labels]
        rest = pd.DataFrame({"path": dataset.names, "label": classes})
        table = pd.concat([table, rest[~rest["path"].isin(table["path"])]])
        table = table.astype({"runs": "Int64"})
        for column, values in _parts_and_groups(dataset).items():
            table[column] = table["path"].map(dict(zip(dataset.names, values, strict=True)))
    return table


def _parts_and_groups(dataset: Dataset) -> dict[str, list[str]]:
    """Columns of what else the data set says of its images, so that a corrected one says it too."""
    columns = {}
    if dataset.official_test is not None:
        columns["part"] = ["test" if test else "train" for test in dataset.official_test]
    if dataset.groups is not None:
        columns[GROUP] = [f"group {number}" for number in dataset.groups]
    return columns


def _write(path: Path, data: bytes, console: Console) -> None:
    """Write a file; an earlier one, which somebody may have corrected, gets another name."""
    if earlier := files.set_aside(path, data):
        console.print(escape(f"The earlier {path.name} differs and is now {earlier}."))
    files.write(path, data)


def _csv(table: pd.DataFrame) -> bytes:
    """A table as CSV. No cell begins as a spreadsheet's formula does; `new` reads paths and labels.

    Names are not changed otherwise, so that labels and paths mean the same classes and files.
    """
    table = table.copy()
    for column in table.columns.intersection(PATHS):
        table[column] = table[column].astype(object).fillna("").astype(str).map(path_cell)
    table = table.map(lambda value: label_cell(value) if isinstance(value, str) else value)
    return table.to_csv(index=False, float_format="%.4f", lineterminator="\n").encode()


def _summary(judged: Judgements) -> str:
    suspects = judged.suspects
    return (
        f"{suspects['suspected'].sum():,} of {len(suspects):,} labels are suspected to be wrong, "
        f"by {judged.runs.min()} to {judged.runs.max()} runs that did not train on the image. The "
        f"runs are right on {100 * judged.accuracy:.1f} % of these images as labelled. Checking "
        f"the suspected labels can raise this to {100 * judged.corrected_accuracy:.1f} %, if all "
        "of them are wrong."
    )


def _print_suspects(judged: Judgements, console: Console) -> None:
    suspects = judged.suspects
    table = Table("image", "label", "probability", "suggested", "probability", "wrong in")
    for row in suspects[suspects["suspected"]].head(PRINTED).itertuples():
        table.add_row(
            *(escape(row.image), escape(row.label), f"{100 * row.probability:.0f} %"),
            *(escape(row.suggested), f"{100 * row.suggested_probability:.0f} %"),
            f"{round(row.wrong * row.runs)} of {row.runs} runs",
        )
    console.print(table)
    always = int((suspects["wrong"] == 1).sum())
    console.print(f"{_summary(judged)} All runs got {always:,} images wrong.")
    for pair in judged.confused.head(3).itertuples():
        console.print(
            escape(
                f"{pair.one} and {pair.other} are confused both ways: {100 * pair.one_as_other:.0f}"
                f" % and {100 * pair.other_as_one:.0f} %."
            )
        )


def _twins_in_words(pairs: pd.DataFrame) -> Iterator[str]:
    if len(pairs):
        first = pairs.iloc[0]
        yield (
            f"{len(pairs)} pairs of images look the same and have different labels, as {first.one} "
            f"({first.one_label}) and {first.other} ({first.other_label})."
        )


def _cues_in_words(judged: Judgements, known: pd.DataFrame) -> Iterator[str]:
    base = 100 * pd.Series(judged.labels).value_counts(normalize=True).max()
    for cue, groups in known.groupby("cue", sort=False):
        guessed, accuracies = groups["told"].iloc[0], groups["accuracy"]
        low, high = accuracies.min(), accuracies.max()
        yield (
            f"The {cue} alone predicts the class of {guessed:.0f} % of the images; the commonest "
            f"class holds {base:.0f} %. Accuracy is {low:.0f} to {high:.0f} % between its groups."
        )


def _cards(
    shown: pd.DataFrame, dataset: Dataset, look_of: Protocol, pairs: pd.DataFrame
) -> Iterator[cards.Card]:
    images = dict(zip(dataset.names, dataset.images, strict=True))
    twin = {
        one: f"looks like {other}, labelled {label}"
        for row in pairs.itertuples()
        for one, other, label in (
            (row.one, row.other, row.other_label),
            (row.other, row.one, row.one_label),
        )
    }
    for row in shown.itertuples():
        view = decode(images[row.image], SIDE, look_of.resize, look_of.background)
        wrong = f"wrong in {round(row.wrong * row.runs)} of {row.runs} runs"
        yield cards.Card(
            name=row.image,
            title=f"{row.label} → {row.suggested}?",
            views=[view],
            shares={row.label: row.probability, row.suggested: row.suggested_probability},
            notes=[wrong, *([twin[row.image]] if row.image in twin else [])],
        )
