"""Trained weights: each run leaves its own, and a sweep keeps those of the best on validation."""

import json

import pytest
import yaml
from factories import CLASSES, save_run
from torch import nn

from effnet_core import paths, weights
from effnet_core.errors import InputError
from effnet_core.model.backbones import Backbone
from effnet_core.study import records
from effnet_core.study.design import Protocol
from effnet_core.study.schema import Record
from effnet_report.evidence import choice
from effnet_report.evidence import weights as of_studies
from effnet_report.evidence.choice import best_configuration


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
        weights.save(record, backbone(accuracy))
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
    assert choice.of_study("small") == left["best"]
    assert {r.run_id for r in best_configuration(left.values())} == {
        left[name].run_id for name in ("best", "its worse seed")
    }


def test_each_run_leaves_its_weights_and_says_which_they_are(finish):
    records_left = [finish(80.0, freeze=2, seed=1), finish(80.0, freeze=2, seed=0)]
    for record in records_left:
        path = of_studies.path_of(record)
        weights.check(path, record)
        assert path.stat().st_mode & 0o777 == 0o644
    about = weights.describe(of_studies.path_of(records_left[0]))
    assert about["settings"]["freeze"] == 2
    assert about["facts"]["classes"] == CLASSES
    assert about["std"] == [0.25] * 3
    assert "made" not in about
    with pytest.raises(InputError, match="does not belong to the record of"):
        weights.check(of_studies.path_of(records_left[0]), records_left[1])


def left() -> set[str]:
    return {path.stem for path in paths.weights("small", "any").parent.iterdir()}


def test_a_finished_sweep_keeps_the_best_alone(finish):
    seeds = [finish(80.0, freeze=2, seed=1), finish(80.0, freeze=2, seed=0)]
    finish(75.0, freeze=0), finish(75.0, freeze=0, seed=1)
    of_studies.keep_best("small")
    assert choice.of_study("small") == seeds[1]  # of equals the lowest seed
    assert left() == {seeds[1].run_id}


def test_while_a_sweep_goes_on_the_worst_make_room(finish, monkeypatch):
    of = [finish(60.0, freeze=1), finish(90.0, freeze=2), finish(80.0, freeze=3)]
    of_studies.keep_within_budget("small")
    assert left() == {record.run_id for record in of}
    size = of_studies.path_of(of[0]).stat().st_size
    monkeypatch.setattr(of_studies, "BUDGET", 2.5 * size)
    of_studies.keep_within_budget("small")
    assert left() == {of[1].run_id, of[2].run_id}
    finish(50.0, freeze=3, seed=1)
    # The only one with two seeds leads, so its better run stays although others did better.
    monkeypatch.setattr(of_studies, "BUDGET", 1.5 * size)
    of_studies.keep_within_budget("small")
    assert left() == {choice.of_study("small").run_id} == {of[2].run_id}


def test_weights_that_another_run_has_just_deleted_stop_no_sweep(finish, monkeypatch):
    finish(60.0, freeze=1)
    there = of_studies._all("small")
    gone = there[0].with_name("gone.safetensors")
    monkeypatch.setattr(of_studies, "_all", lambda _: [gone, *there])
    of_studies.keep_within_budget("small")
    assert left() == {there[0].stem}


def test_a_seed_that_the_design_does_not_name_wins_nothing(finish):
    best = finish(80.0, freeze=2)
    finish(90.0, freeze=1, seed=7)
    finish(70.0, freeze=1)
    assert choice.of_study("small") == best


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
    assert choice.of_study("small") == best


def test_weights_that_cannot_be_kept_cost_no_record(finish, capsys, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    record = finish(60.0)
    assert "not kept; the record is" in capsys.readouterr().out
    assert records.load(records.record_path("small", record.run_id)) == record
    assert not of_studies.path_of(record).exists()
