"""A run on another machine: what goes there and comes back, without any such machine."""

import json
import time
from dataclasses import replace
from threading import Event
from types import SimpleNamespace

import pytest

from effnet_core import files, paths
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.design import Protocol, Study
from effnet_core.study.provenance import COMMIT
from effnet_report.sweep import carried
from effnet_report.sweep.tasks import Task


@pytest.fixture
def came_back(make_record, own_folders):
    """A task, and what came back of it: a record, its predictions and its notebook."""
    record, predictions = make_record()
    task = Task(record.run_id, paths.TRAIN_NOTEBOOK, "small", record.settings)
    written = {
        f"{record.run_id}.json": records.text(record),
        f"{record.run_id}.predictions.csv": predictions,
    }
    return task, carried.Left("", "/there", b'{"in": "/there/notebooks"}', written)


def test_what_came_back_is_written_as_it_is_here(came_back, own_folders):
    task, left = came_back
    output = own_folders / "run.ipynb"
    carried.accept(task, left, output)
    place = records.record_path("small", task.run_id)
    sent, kept = (json.loads(text) for text in (left.written[place.name], place.read_bytes()))
    assert {name for name in sent if sent[name] != kept[name]} <= {"made", "checksum"}
    assert records.predictions_path(place).read_bytes() in left.written.values()
    assert records.load(place).made.commit == COMMIT
    assert output.read_text() == f'{{"in": "{paths.ROOT}/notebooks"}}'


def test_another_runs_record_and_a_damaged_one_are_refused(came_back, own_folders):
    task, left = came_back
    longer = replace(task, settings=task.settings.model_copy(update={"epochs": 3}))
    with pytest.raises(InputError, match="of another run"):
        carried.accept(longer, left, own_folders / "run.ipynb")
    name = f"{task.run_id}.json"
    cut = replace(left, written=left.written | {name: left.written[name][:-9]})
    with pytest.raises(InputError, match="damaged"):
        carried.accept(task, cut, own_folders / "run.ipynb")
    assert not list(own_folders.glob("results/small/*.json"))


@pytest.fixture
def there(monkeypatch, came_back, own_folders):
    """A run as it arrives at a machine whose engine saves two checkpoints, then ends as told."""
    task, left = came_back
    monkeypatch.setattr(paths, "STUDIES", own_folders / "studies")
    monkeypatch.setattr(paths, "ROOT", own_folders)
    monkeypatch.chdir(own_folders)
    monkeypatch.setattr(carried, "LOOK", 0.01)
    settings = task.settings
    files.write(paths.CACHE / carried.checkpoints(task)[0], b"epoch 1")
    names = set(Protocol.model_fields)
    study = Study(
        name="small", title="A", seeds=[0], protocol=Protocol(**settings.model_dump(include=names))
    )
    run = carried.pack(task, study)

    seen = Event()

    def executed(running: Task, output):
        checkpoint = paths.CACHE / carried.checkpoints(task)[0]
        assert checkpoint.read_bytes() == b"epoch 1"
        assert not records.record_path("small", task.run_id).exists()
        for epoch in (b"epoch 2", b"epoch 3"):
            time.sleep(0.02)  # so that the file is younger
            files.write(checkpoint, epoch)
            seen.wait(60)
            seen.clear()
        output.write_bytes(left.notebook)
        for name, data in left.written.items():
            files.write(paths.records("small") / name, data)
        return ""

    monkeypatch.setattr(carried, "_here", lambda: SimpleNamespace(run=executed))
    return run, left, seen


def test_each_new_checkpoint_comes_back_and_then_all_that_the_run_left(there):
    run, left, seen = there
    files.write(records.record_path("small", run.task.run_id), b"of an earlier attempt")
    came = []
    for part in carried.execute(run):
        came.append(part)
        seen.set()
    *came, end = came
    place = carried.checkpoints(run.task)[0]
    assert came == [{place: b"epoch 2"}, {place: b"epoch 3"}]
    assert (end.error, end.notebook, end.written) == ("", left.notebook, left.written)
    assert not list(paths.records("small").glob("*.json")), "the node keeps records"


def test_a_machine_that_differs_says_in_what(there, monkeypatch):
    run, *_ = there
    assert carried.why_not_here(run) == ""
    other = run.environment | {"timm": "9.9.9", "instructions": "others"}
    why = carried.why_not_here(replace(run, environment=other))
    assert "timm" in why
    assert "not 9.9.9" in why
    assert "not others" in why
    monkeypatch.setattr(paths, "ROOT", paths.ROOT / "elsewhere")
    assert "not what was brought" in carried.why_not_here(run)


def test_a_full_disk_keeps_no_checkpoint_and_ends_nothing(own_folders):
    paths.CACHE.write_bytes(b"no folder can be made here")
    carried.write_checkpoints({"checkpoints/small/a.pt": b"epoch 1"})
