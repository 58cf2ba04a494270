"""Publish a study: copy its records and notebooks to the folders that git tracks."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import nbformat
import yaml

from effnet_core import files, paths
from effnet_core.errors import InputError, cannot
from effnet_core.study import records
from effnet_core.study.design import Study, is_url
from effnet_core.study.plain_yaml import read_yaml
from effnet_core.study.schema import Record
from effnet_core.study.studies import PUBLISHED
from effnet_report.evidence import loader, locations
from effnet_report.evidence.calibrated import Calibrated
from effnet_report.evidence.choice import best_run
from effnet_report.evidence.growth import Growth
from effnet_report.inference import analysis
from effnet_report.publishing.exchange import alone, check_replaceable, exchange, recover

STAGED = f"{PUBLISHED}/.new"


def publish(design: Study, source: Path) -> tuple[int, int]:
    """Copy all valid records, their design, the verdicts, and the notebooks of the first seed.

    The new folder is assembled beside the published one from old and new files, checked, and then
    exchanged with it. A kill at any moment loses nothing.

    Args:
        source: the YAML file of the design.

    Returns:
        Number of records and of notebooks copied.

    Raises:
        InputError: there are no records, a record is damaged or disagrees with the others, a run
            is published with another outcome, a link or a file is in the way, or the disk is full;
            the published folder is unchanged.
    """
    loaded = _checked(design.name, design)
    if not loaded.believed:
        raise InputError(f"Study {design.name} has no records: `effnet sweep {source}` makes them.")
    stage, target = f"{STAGED}/{design.name}", f"{PUBLISHED}/{design.name}"
    folders = [(place(stage), place(target)) for place in (paths.records, paths.executed)]
    for staged, there in folders:
        check_replaceable(staged.parent, there)
    try:
        with alone(paths.records(PUBLISHED)), _leaving_nothing(folders):
            _check_same_outcomes(loaded, target)
            for staged, there in folders:
                files.check_writable(staged)
                if there.is_dir():
                    shutil.copytree(
                        there, staged, symlinks=True, copy_function=_copy, dirs_exist_ok=True
                    )
            notebooks = _stage(loaded, stage, source)
            staged_records = _checked(stage, None)  # against the design that is published now
            _check_whole(staged_records)
            _stage_learned(design.name, staged_records)
            analysis.save_claims(stage)  # new records are never published beside old verdicts
            for staged, there in folders:
                exchange(staged, there)
    except OSError as error:
        raise cannot(f"publish {design.name}", error) from None
    return len(loaded.believed), notebooks


def _check_same_outcomes(loaded: loader.Loaded, target: str) -> None:
    """Make sure that no run is published with another outcome.

    Raises:
        InputError: one is; the message says how to replace it.
    """
    for run_id, record in loaded.believed.items():
        path = records.record_path(target, run_id)
        try:
            published = records.load(path)
        except InputError:  # damaged or not there
            continue
        # Predictions files of older records lack a column.
        pair = [one.model_copy(update={"predictions": ""}) for one in (published, record)]
        if not records.came_out_equal(*pair):
            raise InputError(
                f"{run_id} is published with another outcome than that of {loaded.design.name}. "
                f"Nothing was replaced. To publish the new outcomes, delete {path.parent} first; "
                "git has a copy if it was committed."
            )


@contextmanager
def _leaving_nothing(folders: list[tuple[Path, Path]]) -> Iterator[None]:
    """Undo the rest of a killed process first, and delete staged folders at the end."""

    def recover_all() -> None:
        for staged, there in folders:
            recover(staged, there)
            with suppress(OSError):  # another study is staged there
                staged.parent.rmdir()

    recover_all()
    try:
        yield
    finally:
        recover_all()


def _copy(source: str | Path, target: str | Path) -> None:
    """Copy a file or raise an error; `shutil.copytree` would continue after errors.

    A link in place of the target is replaced, because writing to it would change another file.
    """
    try:
        Path(target).unlink(missing_ok=True)
        shutil.copy2(source, target)
    except OSError as error:
        raise cannot(f"copy {source} to {target}", error) from None


def _checked(reference: str, design: Study | None) -> loader.Loaded:
    loaded = loader.load(reference, design)
    loaded.check_sound()
    return loaded


def _check_whole(staged: loader.Loaded) -> None:
    """Make sure that every run that is published already is part of the new design.

    Raises:
        InputError: one is not, and would not count any more.
    """
    if staged.uncounted:
        name = staged.design.name
        raise InputError(
            f"{len(staged.uncounted)} published runs of {name} are not in this design, such as "
            f"{next(iter(staged.uncounted))}. Nothing was replaced. Restore the seeds and levels, "
            f"or delete {paths.records(f'{PUBLISHED}/{name}')} first; git has a copy if it was "
            "committed."
        )


def _stage(loaded: loader.Loaded, stage: str, source: Path) -> int:
    """Write all files without paths of this machine; return the number of notebooks."""
    design = loaded.design
    local = _local_folders(design, source)
    files.write(paths.design(stage), _design(design, source, local).encode())
    notebooks = 0
    for run_id, record in loaded.believed.items():
        path = records.record_path(design.name, run_id)
        copy = paths.records(stage) / path.name
        _copy(records.predictions_path(path), records.predictions_path(copy))
        settings = {n: local.get(v, v) for n, v in record.settings if isinstance(v, str)}
        if settings.items() <= dict(record.settings).items():
            _copy(path, copy)
        else:  # contains a path of this machine
            moved = record.settings.model_copy(update=settings)
            files.write(copy, records.text(record.model_copy(update={"settings": moved})))
        notebook = paths.executed(design.name) / f"{run_id}.ipynb"
        if record.settings.seed == design.seeds[0] and notebook.is_file():
            _copy_notebook(notebook, paths.executed(stage) / notebook.name, local)
            notebooks += 1
    return notebooks


def _stage_learned(study: str, staged: loader.Loaded) -> None:
    """Copy what was learned of the best run: its calibration, and what more images would give.

    Published runs that are not here may have another best run, whose files stay.
    """
    best = best_run(one for one in staged.believed.values() if isinstance(one, Record))
    for place, schema in ((locations.calibration, Calibrated), (locations.growth, Growth)):
        if best and _weights_in(place(study), schema) == best.outcome.final_weights:
            _copy(place(study), place(staged.reference))


def _weights_in(learned: Path, schema: type[Calibrated | Growth]) -> str:
    """The hash of the weights that a file is about; empty if it cannot be read."""
    try:
        return schema.model_validate_json(learned.read_bytes()).final_weights
    except (OSError, ValueError):
        return ""


def _local_folders(design: Study, source: Path) -> dict[str, str]:
    """A path relative to the repository's folder, as it is on other machines."""
    protocol = design.protocol
    given = [protocol.data_dir, protocol.labels, protocol.weights, str(source.absolute())]
    absolute = [path for path in given if path and Path(path).is_absolute()]
    return {path: os.path.relpath(path, paths.ROOT) for path in absolute}


def _design(design: Study, source: Path, local: dict[str, str]) -> str:
    """The YAML of the study, with data paths relative to the file's new folder."""
    protocol = design.protocol
    there = paths.records(f"{PUBLISHED}/{design.name}")
    places = {"data_dir": protocol.data_dir, "labels": protocol.labels}
    here = {name: path for name, path in places.items() if path and not is_url(path)}
    moved = {name: os.path.relpath(path, there) for name, path in here.items()}
    if protocol.weights in local:
        moved["weights"] = local[protocol.weights]
    if not moved:
        return source.read_text(encoding="utf-8")
    content = read_yaml(source)
    content["protocol"] |= moved
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _without(local: dict[str, str], text: str) -> str:
    for path, relative in (local | {f"{paths.ROOT}/": ""}).items():
        text = text.replace(path, relative)
    return text


def _copy_notebook(source: Path, target: Path, local: dict[str, str]) -> None:
    """Copy a notebook without paths of this machine, which papermill writes to the metadata too."""
    try:
        notebook = nbformat.reads(_without(local, source.read_text(encoding="utf-8")), as_version=4)
        nbformat.validate(notebook)
    except Exception as error:  # nbformat raises errors of JSON, of its schema and of attributes
        raise InputError(
            f"{source} is no whole notebook ({type(error).__name__}). Delete it, and publish again "
            "without its page, or repeat the run with papermill."
        ) from None
    papermill = notebook.metadata.setdefault("papermill", {})
    if "input_path" in papermill:
        papermill["input_path"] = f"{paths.NOTEBOOKS.name}/{Path(papermill['input_path']).name}"
    place = paths.executed(f"{PUBLISHED}/{target.parent.name}") / target.name
    papermill["output_path"] = place.relative_to(paths.ROOT).as_posix()
    files.write(target, f"{nbformat.writes(notebook).rstrip()}\n".encode())
