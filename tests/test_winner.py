"""The weights that a study keeps: only those of the run that did best on validation."""

import itertools

import pytest
from factories import CLASSES
from torch import nn

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.model.backbones import Backbone
from effnet_core.study import records
from effnet_core.training import winner


@pytest.fixture
def finish(own_folders, make_record):
    """Leave a record of a run with some validation accuracy, and let its weights compete."""

    def finish(accuracy: float, **changes) -> records.Record:
        record, predictions = make_record(accuracy, **changes)
        records.save(record, predictions)
        winner.keep("small", record, backbone(accuracy))
        return record

    return finish


def backbone(value: float) -> Backbone:
    network = nn.Linear(2, 2)
    nn.init.constant_(network.weight, value)
    nn.init.zeros_(network.bias)
    return Backbone(network, (0.5,) * 3, (0.25,) * 3, "0" * 64)


RUNS = {
    "best": (80.0, {"freeze": 2}),
    "as good, later in Table 1": (80.0, {"freeze": 3}),
    "as good, a later seed": (80.0, {"freeze": 2, "seed": 1}),
    "worse": (75.0, {"freeze": 0}),
}


@pytest.mark.parametrize("order", list(itertools.permutations(RUNS)), ids=lambda order: order[0])
def test_the_best_on_validation_is_kept_in_whatever_order_runs_end(finish, order):
    left = {name: finish(RUNS[name][0], **RUNS[name][1]) for name in order}
    assert winner.kept_run("small") == winner.winner("small") == left["best"]
    about = winner.describe(paths.winner("small"))
    assert about["settings"]["freeze"] == 2
    assert about["facts"]["classes"] == CLASSES
    assert about["std"] == [0.25] * 3
    assert "made" not in about


def test_weights_whose_record_is_gone_make_room(finish):
    best = finish(90.0, freeze=5)
    records.record_path("small", best.run_id).unlink()
    worse = finish(60.0, freeze=4)
    assert winner.kept_run("small") == worse


def test_a_run_that_came_out_otherwise_than_recorded_replaces_nothing(finish, make_record):
    best = finish(90.0, freeze=5)
    before = paths.winner("small").read_bytes()
    outcome = best.outcome.model_copy(update={"final_weights": "e" * 64})
    winner.keep("small", best.model_copy(update={"outcome": outcome}), backbone(1.0))
    assert paths.winner("small").read_bytes() == before


def test_a_file_of_something_else_is_told_and_replaced(finish):
    paths.winner("small").parent.mkdir(parents=True)
    paths.winner("small").write_bytes(b"x")
    with pytest.raises(InputError, match="does not hold the weights of a winner"):
        winner.describe(paths.winner("small"))
    assert winner.kept_run("small") is None
    record = finish(60.0)
    assert winner.kept_run("small") == record


def test_weights_that_cannot_be_kept_cost_no_record(finish, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(winner, "save_file", full)
    record = finish(60.0)
    assert "not kept; the record is" in capsys.readouterr().out
    assert records.load(records.record_path("small", record.run_id)) == record
    assert not paths.winner("small").exists()
