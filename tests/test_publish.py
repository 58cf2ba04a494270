"""What is published says nothing about the machine it was made on, and nothing false."""

import json
import os
import shutil
import sys
from pathlib import Path

import nbformat
import pytest
from factories import save_run, write_notebook

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.studies import load_study
from effnet_report.evidence import loader
from effnet_report.evidence.choice import best_run
from effnet_report.evidence.loader import load_design
from effnet_report.inference import analysis, claims
from effnet_report.publishing import exchange
from effnet_report.publishing.publish import publish

YAML = """
title: As it was
seeds: [0, 1]
factors: {freeze: [5], head: [none], scheduler: [plateau]}
protocol: {dataset: imagefolder, data_dir: FOLDER/cells, weights: FOLDER/w.pth, image_size: 32}
"""


@pytest.fixture
def root(own_folders, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", own_folders)
    monkeypatch.setattr(paths, "EXECUTED", own_folders / "book/runs")
    return own_folders


@pytest.fixture
def source(root):
    """A trained study of images in a folder of this machine, its YAML outside `studies/`."""
    path = root / "mine.yml"
    path.write_text(YAML.replace("FOLDER", str(root.parent)))
    for settings in load_study(str(path)).runs():
        save_run(settings)
        write_notebook(settings)
    (notebook,) = paths.executed("mine").glob("*seed0.ipynb")
    content = nbformat.read(notebook, as_version=4)
    content.metadata.papermill.input_path = f"{root}/notebooks/train.ipynb"
    content.metadata.papermill.parameters.study = str(path)
    content.cells.append(nbformat.v4.new_code_cell(f"study = '{path}'"))
    output = nbformat.v4.new_output("stream", text=f"{root}/results and {root.parent}/cells/a.png")
    content.cells[-1].outputs = [output]
    nbformat.write(content, notebook)
    return path


def published() -> set[str]:
    folder = paths.records("published")
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_records_and_the_first_seeds_notebooks_are_copied(root, source):
    assert publish(load_study(str(source)), source) == (2, 1)
    source.write_text(source.read_text().replace("As it was", "As it is now"))
    assert load_design("published/mine").title == "As it was"
    (copied,) = paths.executed("published/mine").glob("*.ipynb")
    assert "seed0" in copied.name
    found = loader.load("published/mine")
    assert (len(found.believed), found.set_aside) == (2, {})
    assert not list(paths.RESULTS.rglob(".*"))


def test_what_was_learned_of_the_best_run_is_published_without_the_features(root, source):
    names = ("calibration.json", "growth.json")
    (paths.records("mine") / "calibration.safetensors").touch()
    everything = loader.load("mine", load_study(str(source))).believed.values()
    best = best_run(everything)
    real = Path(__file__).parents[1] / "results" / "published" / "elpv" / "calibration.json"
    forecast = {"run_id": best.run_id, "metric": "accuracy", "sizes": [1, 2], "accuracy": [1, 2]}
    forecast |= {"more": 1, "gain": 1.0, "low": 0.0, "high": 2.0}

    def learn(weights: str, **changes: object) -> list[str]:
        contents = [json.loads(real.read_bytes()) | changes, forecast | changes]
        texts = [json.dumps(content | {"final_weights": weights}) for content in contents]
        for name, text in zip(names, texts, strict=True):
            (paths.records("mine") / name).write_text(text)
        publish(load_study(str(source)), source)
        return texts

    kept = learn(best.outcome.final_weights)
    learn("of another run")
    learn(best.outcome.final_weights, unknown=1)
    assert [(paths.records("published/mine") / name).read_text() for name in names] == kept
    assert not any(name.endswith(".safetensors") for name in published())


def test_no_folder_of_this_machine_is_published(root, source):
    publish(load_study(str(source)), source)
    everything = [*paths.records("published").rglob("*"), *paths.executed("published").rglob("*")]
    for path in (path for path in everything if path.is_file()):
        assert str(root.parent) not in path.read_text(), path
    record, _ = loader.load("published/mine").believed.values()
    assert (record.settings.data_dir, record.settings.weights) == ("cells", "../w.pth")
    assert load_design("published/mine").protocol.data_dir == str(root.parent / "cells")


def test_a_url_is_published_as_it_is(root, source):
    url = "s3://bucket/cells"
    source.write_text(source.read_text().replace(str(root.parent / "cells"), url))
    publish(load_study(str(source)), source)
    assert load_design("published/mine").protocol.data_dir == url


def test_a_record_that_names_no_folder_is_copied_byte_for_byte(root, source):
    text = source.read_text().replace(str(root.parent / "w.pth"), "none")
    shutil.rmtree(paths.records("mine"))
    source.write_text(text)
    for settings in load_study(str(source)).runs():
        save_run(settings)
    publish(load_study(str(source)), source)
    for path in records.record_files("mine"):
        assert (paths.records("published/mine") / path.name).read_bytes() == path.read_bytes()


def damage(path) -> None:
    path.write_text(path.read_text()[:-20])


def other_weights(path) -> None:
    content = json.loads(path.read_text())
    content["fingerprints"]["weights"] = "e" * 64
    path.write_text(json.dumps(content | {"checksum": records.checksum(content)}))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [(damage, "is not a complete JSON record"), (other_weights, "has other weights than")],
)
@pytest.mark.fault("records not to be published")
@pytest.mark.parametrize("where", ["mine", "published/mine"])
def test_nothing_is_published_beside_a_record_that_is_not_believed(root, source, where, spoil, why):
    design = load_study(str(source))
    publish(design, source)
    spoilt = list(records.record_files(where))[-1]
    spoil(spoilt)
    if where == "published/mine":  # and it is not replaced by a sound one
        records.record_path("mine", spoilt.stem).unlink()
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with pytest.raises(InputError, match=why):
        publish(design, source)
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


@pytest.mark.fault("full disks")
def test_a_full_disk_leaves_what_was_published(root, source, monkeypatch):
    design = load_study(str(source))
    publish(design, source)
    before = published()

    def full(*_):
        raise InputError("No space left on device")

    monkeypatch.setattr("effnet_core.files.write", full)
    with pytest.raises(InputError, match="No space"):
        publish(design, source)
    assert published() == before
    assert not list(paths.RESULTS.rglob(".new"))


class Killed:
    """Ends the process at the n-th change of a file, as a kill would: nothing is cleaned up."""

    EVENTS = frozenset({"os.rename", "os.mkdir", "os.remove", "os.rmdir", "shutil.copyfile"})

    def __init__(self, after: int) -> None:
        self.left = after

    def __call__(self, event, _):
        if event in self.EVENTS:
            self.left -= 1
            if self.left < 0:
                os._exit(9)


def publish_killed(design, source, after: int) -> bool:
    """Publish in a process that is killed; whether it had come to its end before."""
    child = os.fork()
    if child == 0:
        sys.addaudithook(Killed(after))
        publish(design, source)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture(params=["one call", "two renames"])
def renames(request, monkeypatch):
    if request.param == "two renames":
        monkeypatch.setattr(exchange, "_exchanged", lambda *_: False)
    return request.param


@pytest.mark.slow
@pytest.mark.fault("kills while publishing")
def test_a_kill_at_any_moment_loses_nothing_that_was_published(root, source, renames):
    design = load_study(str(source))
    publish(design, source)
    only_there, *_ = records.record_files("mine")  # moved away since: published is the one copy
    only_there.unlink()
    records.predictions_path(only_there).unlink()
    before, after = published(), 0
    while not publish_killed(design, source, after):
        after += 1
        if renames == "one call":  # and readers never miss it
            assert {name for name in published() if not name.startswith(".new/")} == before
        publish(design, source)
        assert published() == before
        assert len(loader.load("published/mine").believed) == 2
        assert not list(paths.RESULTS.rglob(".*"))
    assert after > 20


@pytest.mark.fault("kills while publishing")
def test_verdicts_are_exchanged_together_with_their_records(root, source):
    """A kill after the exchange leaves no old verdicts beside new records."""
    path = paths.records("published/mine") / "claims.json"
    design = load_study(str(source))
    for seeds in (1, 2):
        publish(design.model_copy(update={"seeds": design.seeds[:seeds]}), source)
        assert path.read_bytes() == claims.as_json(analysis.load("published/mine").claims)
    assert '"seeds": 2' in path.read_text()


@pytest.mark.fault("kills while publishing")
def test_an_error_of_a_rename_leaves_what_was_published(root, source, monkeypatch):
    design = load_study(str(source))
    publish(design, source)
    before, rename = published(), Path.rename
    monkeypatch.setattr(exchange, "_exchanged", lambda *_: False)

    def refused(path, target):
        if path.parent.name == ".new" and not path.name.startswith("."):
            raise PermissionError(13, "Permission denied")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refused)
    with pytest.raises(InputError, match="Cannot publish mine: Permission denied"):
        publish(design, source)
    assert published() == before


def test_two_do_not_publish_at_once(root, source):
    with (
        exchange.alone(paths.records("published")),
        pytest.raises(InputError, match="Another process"),
    ):
        publish(load_study(str(source)), source)


@pytest.mark.fault("links")
def test_a_link_in_place_of_a_published_file_is_replaced_not_written_through(root, source):
    design = load_study(str(source))
    publish(design, source)
    record = next(records.record_files("published/mine"))
    notebook = next(paths.executed("published/mine").glob("*.ipynb"))
    precious = root / "precious"
    precious.write_text("precious")
    places = (record, records.predictions_path(record), notebook)
    before = [place.read_bytes() for place in places]
    for place in places[1:]:
        place.unlink()
        place.symlink_to(precious)
    publish(design, source)
    assert precious.read_text() == "precious"
    assert [place.read_bytes() for place in places] == before
    assert not any(place.is_symlink() for place in places)


@pytest.mark.fault("links")
def test_a_link_in_a_published_study_is_not_followed(root, source):
    design = load_study(str(source))
    publish(design, source)
    secret = root / "secret"
    secret.write_text("secret")
    link = paths.records("published/mine") / "note.txt"
    link.symlink_to(secret)
    publish(design, source)
    assert link.is_symlink()


def test_without_records_nothing_is_published(root):
    with pytest.raises(InputError, match="has no records"):
        publish(load_study("quick"), paths.STUDIES / "quick.yml")
    assert not (paths.RESULTS / "published").exists()


@pytest.mark.fault("records to be overwritten")
def test_a_published_record_of_another_outcome_is_not_replaced(root, source):
    design = load_study(str(source))
    publish(design, source)
    before = {name: (paths.records("published") / name).read_bytes() for name in published()}
    for settings in design.runs():
        save_run(settings, accuracy=99)
    with pytest.raises(InputError, match=r"another outcome.*delete .*published/mine first"):
        publish(design, source)
    assert {n: (paths.records("published") / n).read_bytes() for n in published()} == before
    shutil.rmtree(paths.records("published/mine"))
    publish(design, source)
    assert published() == before.keys()


@pytest.mark.fault("records to be overwritten")
@pytest.mark.parametrize("change", [("[0, 1]", "[2, 3]"), ("freeze: [5]", "freeze: [6]")])
def test_published_runs_are_not_left_out_by_another_design(root, source, change):
    """The study was made again with other seeds or levels, and has records of its own."""
    publish(load_study(str(source)), source)
    before = published()
    shutil.rmtree(paths.records("mine"))
    source.write_text(source.read_text().replace(*change))
    for settings in load_study(str(source)).runs():
        save_run(settings)
    with pytest.raises(InputError, match=r"2 published runs of mine are not in this design"):
        publish(load_study(str(source)), source)
    assert published() == before
    assert len(loader.load("published/mine").believed) == 2


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", "null", '{"cells": 1}', b"\xff\xfe"])
def test_a_damaged_notebook_is_told_and_nothing_is_published(root, source, content):
    (notebook,) = paths.executed("mine").glob("*seed0.ipynb")
    notebook.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=f"{notebook.name} is no whole notebook"):
        publish(load_study(str(source)), source)
    assert published() == set()


@pytest.mark.fault("links")
@pytest.mark.parametrize("place", [paths.records, paths.executed], ids=["records", "notebooks"])
@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_link_or_file_in_place_of_a_published_folder_is_left(root, source, place, kind):
    there, elsewhere = place("published/mine"), root / "elsewhere"
    there.parent.mkdir(parents=True)
    elsewhere.mkdir()
    there.symlink_to(elsewhere) if kind == "link" else there.write_text("mine")
    design = load_study(str(source))
    with pytest.raises(InputError, match=r"is a link or a file.*Move it away"):
        publish(design, source)
    assert there.is_symlink() if kind == "link" else there.read_text() == "mine"
    assert not list(elsewhere.iterdir())
    there.unlink()
    publish(design, source)
    assert len(loader.load("published/mine").believed) == 2
