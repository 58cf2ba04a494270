"""The weights that a study keeps: only those of the run that did best on validation."""

import json

import pytest
import yaml
from factories import CLASSES, save_run
from torch import nn

from effnet_core import paths, winner
from effnet_core.errors import InputError
from effnet_core.model.backbones import Backbone
from effnet_core.study import choice, records
from effnet_core.study.choice import best_configuration
from effnet_core.study.design import Protocol
from effnet_core.study.schema import Record
from effnet_report.evidence import weights


@pytest.fixture
def finish(own_folders, make_settings):
    """Leave a record of a run with some validation accuracy, and let its weights compete.

    Accuracies are multiples of 5 per cent: so many of the validation images are right.
    """
    small = make_settings(epochs=4)
    protocol = small.model_dump(include={*Protocol.model_fields})
    content = {"title": "Small", "seeds": [0, 1], "protocol": protocol}
    paths.design("small").parent.mkdir(parents=True)
    paths.design("small").write_text(yaml.safe_dump(content))

    def finish(accuracy: float, **changes) -> Record:
        # Its last epoch is one point below what is asked for.
        record = save_run(make_settings(epochs=4, **changes), accuracy + 1)
        assert record.outcome.validation.accuracy == pytest.approx(accuracy)
        winner.keep("small", record, backbone(accuracy))
        return record

    return finish


def backbone(value: float) -> Backbone:
    network = nn.Linear(2, 2)
    nn.init.constant_(network.weight, value)
    nn.init.zeros_(network.bias)
    return Backbone(network, (0.5,) * 3, (0.25,) * 3, "0" * 64)


RUNS = {
    "the best alone, not with its other seed": (90.0, {"freeze": 1}),
    "its other seed": (60.0, {"freeze": 1, "seed": 1}),
    "best": (80.0, {"freeze": 2, "seed": 1}),
    "its worse seed": (75.0, {"freeze": 2}),
    "on average as good, later in Table 1": (70.0, {"freeze": 3}),
    "likewise": (85.0, {"freeze": 3, "seed": 1}),
    "best, with fewer seeds than others": (95.0, {"freeze": 4}),
}


@pytest.mark.parametrize("order", [list(RUNS), list(RUNS)[::-1], sorted(RUNS)])
def test_one_rule_names_the_winner_in_whatever_order_runs_end(finish, order):
    left = {name: finish(RUNS[name][0], **RUNS[name][1]) for name in order}
    assert choice.winner("small") == left["best"]
    assert {r.run_id for r in best_configuration(left.values())} == {
        left[name].run_id for name in ("best", "its worse seed")
    }


def test_the_winners_weights_are_kept_and_replaced_when_another_wins(finish):
    seeds = [finish(80.0, freeze=2, seed=1), finish(80.0, freeze=2, seed=0)]
    finish(75.0, freeze=0), finish(75.0, freeze=0, seed=1)
    assert weights.kept_run("small") == choice.winner("small") == seeds[1]  # of equals the lowest
    about = weights.describe(paths.winner("small"))
    assert about["settings"]["freeze"] == 2
    assert about["facts"]["classes"] == CLASSES
    assert about["std"] == [0.25] * 3
    assert "made" not in about


def test_a_run_that_wins_only_later_is_told_from_the_one_that_is_kept(finish):
    good = finish(80.0, freeze=2)
    finish(90.0, freeze=1)
    finish(50.0, freeze=1, seed=1)
    late = finish(70.0, freeze=2, seed=1)
    assert choice.winner("small") == good
    assert weights.kept_run("small") not in (good, late)
    winner.keep("small", good, backbone(1.0))  # trained once more
    assert weights.kept_run("small") == good


def test_a_seed_that_the_design_does_not_name_wins_nothing(finish):
    best = finish(80.0, freeze=2)
    finish(90.0, freeze=1, seed=7)
    finish(70.0, freeze=1)
    assert weights.kept_run("small") == choice.winner("small") == best


@pytest.mark.fault("forged records")
def test_a_forged_record_wins_nothing(finish):
    forged = finish(70.0, freeze=3)
    path = records.record_path("small", forged.run_id)
    content = json.loads(path.read_text())
    for said in (content["outcome"]["validation"], content["outcome"]["history"][-1]["validation"]):
        said["accuracy"] = 100.0
    content["outcome"]["best_of_cycle"]["accuracy"] = 100.0
    path.write_text(json.dumps(content | {"checksum": records.checksum(content)}))
    assert records.load(path).outcome.validation.accuracy == 100.0  # whole, and untrue
    best = finish(80.0, freeze=2)
    assert weights.kept_run("small") == choice.winner("small") == best


def test_weights_whose_record_is_gone_make_room(finish):
    best = finish(90.0, freeze=5)
    records.record_path("small", best.run_id).unlink()
    worse = finish(60.0, freeze=4)
    assert weights.kept_run("small") == worse


def test_a_run_that_came_out_otherwise_than_recorded_replaces_nothing(finish):
    best = finish(90.0, freeze=5)
    before = paths.winner("small").read_bytes()
    outcome = best.outcome.model_copy(update={"final_weights": "e" * 64})
    winner.keep("small", best.model_copy(update={"outcome": outcome}), backbone(1.0))
    assert paths.winner("small").read_bytes() == before


def test_a_file_of_something_else_is_told_and_replaced(finish):
    paths.winner("small").parent.mkdir(parents=True, exist_ok=True)
    paths.winner("small").write_bytes(b"x")
    with pytest.raises(InputError, match="does not hold the weights of a winner"):
        weights.describe(paths.winner("small"))
    assert weights.kept_run("small") is None
    record = finish(60.0)
    assert weights.kept_run("small") == record


def test_weights_that_cannot_be_kept_cost_no_record(finish, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(winner, "save_file", full)
    record = finish(60.0)
    assert "not kept; the record is" in capsys.readouterr().out
    assert records.load(records.record_path("small", record.run_id)) == record
    assert not paths.winner("small").exists()
