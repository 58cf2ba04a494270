"""A run that was interrupted ends as if it had not been."""

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from factories import SMALL, even_metrics, train
from torch import nn

from effnet_core import paths, run
from effnet_core.study import records
from effnet_core.study.design import SCHEDULERS
from effnet_core.study.provenance import Clock
from effnet_core.study.schema import Epoch
from effnet_core.training import checkpoints
from effnet_core.training.checkpoints import Checkpoint
from effnet_core.training.race import Race
from effnet_core.training.schedules import Schedule
from effnet_core.training.state import TrainingState

# Everything random or remembered that a run can have; at freeze 0 with 3 x 3 kernels over
# several channels, which lie in memory in another order than their indices say.
RICH = SMALL | {"head": "mlp", "drop_path": 0.2, "dropout": 0.4}
RICH |= {"epochs": 3, "max_images": 50}
CASES = [{"freeze": 0, "scheduler": "plateau"}, {"freeze": 5, "scheduler": "cosine"}]


pytestmark = pytest.mark.usefixtures("every_epoch_saved")


class KilledError(Exception):
    """Stands for a process that ends between two lines."""


def interrupted(monkeypatch, after: int, **changes) -> None:
    """Train, and be gone after the checkpoint of an epoch is written."""
    save = Checkpoint.save

    def save_and_go(self, at):
        save(self, at)
        if len(at.history) == after:
            raise KilledError

    this = run.begin(RICH | changes)
    data = run.load_data(this)
    model = run.build_model(this, data)
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "save", save_and_go)
        with pytest.raises(KilledError):
            run.train(this, data, model)
    this.lock.release()


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case["scheduler"])
def test_a_resumed_run_leaves_the_same_record_to_the_bit(own_folders, monkeypatch, capsys, case):
    whole = train(**RICH | case)
    epochs = len(whole.outcome.history)
    assert epochs == 3
    left = paths.weights(whole.settings.study, whole.run_id)
    weights = left.read_bytes()
    recorded = records.record_path(whole.settings.study, whole.run_id)
    saved(1, whole.settings).unlink()
    for after in (1, 2, 3):
        recorded.unlink()
        interrupted(monkeypatch, after, **case)
        spent = torch.load(io.BytesIO(saved(after, whole.settings).read_bytes()[32:]))["spent"]
        capsys.readouterr()
        resumed = train(**RICH | case)
        told = capsys.readouterr().out
        assert f"Resumed after epoch {after}, from" in told
        assert told.count("validation") == epochs - after
        assert resumed.model_copy(update={"made": whole.made}) == whole
        assert records.load(recorded) == resumed
        assert left.read_bytes() == weights
        left.unlink()
        assert not list((paths.CACHE / "checkpoints").rglob("*.*"))
        starts = (resumed.made.seconds, resumed.made.cpu_seconds)
        for times, earlier in zip(starts, spent, strict=True):
            assert times["total"] >= times["train"] >= round(earlier, 2) > 0
        saved(1, whole.settings).unlink()


def saved(epoch: int, settings) -> Path:
    """Where the state after an epoch is."""
    if epoch == 1:
        return records.first_epoch(settings)
    return paths.checkpoint(settings.study, settings.run_id)


@pytest.mark.slow
@pytest.mark.parametrize(("freeze", "schedulers"), [(0, SCHEDULERS[::-1]), (5, SCHEDULERS)])
def test_the_schedules_share_their_first_epoch(
    own_folders, monkeypatch, capsys, freeze, schedulers
):
    """Each record is that of the run alone, whichever is first, killed or without a cache."""
    alone = {}
    for scheduler in SCHEDULERS:
        settings = run.begin(RICH | {"freeze": freeze, "scheduler": scheduler}).settings
        alone[scheduler], _ = run.repeat(settings)
    assert alone["plateau"].outcome != alone["cosine"].outcome
    first, second = schedulers
    shared = saved(1, settings)
    for killed_after in (None, 1, 2):
        if killed_after:
            interrupted(monkeypatch, killed_after, freeze=freeze, scheduler=first)
            assert shared.is_file()
        else:
            assert_same(train(**RICH | {"freeze": freeze, "scheduler": first}), alone[first])
        spent = torch.load(io.BytesIO(shared.read_bytes()[32:]))["spent"]
        capsys.readouterr()
        found = train(**RICH | {"freeze": freeze, "scheduler": second, "cache_gb": 0.0})
        told = capsys.readouterr().out
        assert "Resumed after epoch 1, from the first epoch of all schedules" in told
        assert told.count("validation") == len(found.outcome.history) - 1
        assert_same(found, alone[second])
        assert found.made.seconds["train"] >= round(spent[0], 2) > 0
        assert found.made.cpu_seconds["train"] >= round(spent[1], 2) > 0
        if killed_after:
            assert_same(train(**RICH | {"freeze": freeze, "scheduler": first}), alone[first])
        assert not list(paths.CACHE.rglob("*.pt"))  # both are recorded: nobody needs it
        shutil.rmtree(paths.RESULTS)


def assert_same(found, expected) -> None:
    """In all but where and when, and the disk that it might use."""
    aside = {"made": expected.made, "settings": expected.settings}
    assert found.model_copy(update=aside) == expected


@pytest.mark.slow
def test_another_study_shares_nothing(own_folders, capsys):
    train(freeze=6, epochs=1)
    train(freeze=6, epochs=1, scheduler="cosine", learning_rate=1e-3)
    train(freeze=6, epochs=1, scheduler="cosine", seed=1)
    train(freeze=6, epochs=1, scheduler="cosine", head="mlp")
    train(freeze=5, epochs=1, scheduler="cosine")
    assert "Resumed" not in capsys.readouterr().out


def test_no_checkpoint_where_training_again_is_as_fast(own_folders, monkeypatch):
    monkeypatch.setattr(checkpoints, "WORTH_SAVING", 3600.0)
    interrupted(monkeypatch, 3, freeze=6)
    assert [path.parent.parent.name for path in paths.CACHE.rglob("*.pt")] == ["epochs"]


@pytest.mark.slow
def test_a_repeated_run_neither_takes_up_nor_leaves_a_checkpoint(own_folders, monkeypatch, capsys):
    interrupted(monkeypatch, 1, freeze=6)
    before = {path: path.read_bytes() for path in own_folders.rglob("*.pt")}
    settings = run.begin(RICH | {"freeze": 6}).settings
    repeated, _ = run.repeat(settings)
    assert "Resumed" not in capsys.readouterr().out
    assert {path: path.read_bytes() for path in own_folders.rglob("*.pt")} == before
    assert not list(own_folders.glob("results/**/*.json"))
    assert train(**RICH | {"freeze": 6}).outcome == repeated.outcome


@pytest.fixture
def small_state(make_settings):
    """One linear layer after one step and one epoch."""
    state = new_state(make_settings)
    state.suffix(torch.ones(4, 3)).sum().backward()
    state.optimizer.step()
    state.add(Epoch(epoch=1, learning_rate=1e-3, train_loss=0.5, validation=even_metrics(50.0)))
    return state


@pytest.fixture
def checkpoint(tmp_path):
    clock = Clock()
    with clock.phase("train"):
        yield Checkpoint(tmp_path / "run.pt", {"seed": 0, "code": "abc"}, clock)


def new_state(make_settings) -> TrainingState:
    settings, layer = make_settings(scheduler="plateau"), nn.Linear(3, 2)
    optimizer = torch.optim.Adam(layer.parameters(), fused=True)
    schedule, order = Schedule(optimizer, settings), np.random.default_rng()
    return TrainingState(settings, layer, optimizer, schedule, order, Race(settings))


def content(state: TrainingState) -> str:
    return repr((state.content(), state.optimizer.param_groups[0]["lr"]))


def test_a_state_comes_back_as_it_was(small_state, checkpoint, make_settings, capsys):
    checkpoint.save(small_state)
    random = torch.get_rng_state()
    expected = content(small_state)
    torch.rand(3)
    again = new_state(make_settings)
    assert content(again) != expected
    checkpoint.resume(again)
    assert content(again) == expected
    assert torch.equal(torch.get_rng_state(), random)


def test_every_damage_is_told_and_nothing_of_it_is_used(
    small_state, checkpoint, make_settings, capsys
):
    checkpoint.save(small_state)
    whole = checkpoint.path.read_bytes()
    rng = np.random.default_rng(0)
    flips = [(int(place), int(bit)) for place, bit in rng.integers((len(whole), 8), size=(150, 2))]
    damages = [whole[:length] for length in rng.integers(0, len(whole), 50)]
    damages += [whole[:p] + bytes([whole[p] ^ 1 << bit]) + whole[p + 1 :] for p, bit in flips]
    damages += [b"", b"{}", whole + b"x", bytes(len(whole))]
    fresh = new_state(make_settings)
    before = content(fresh)
    for damaged in damages:
        checkpoint.path.write_bytes(damaged)
        checkpoint.resume(fresh)
        assert "run.pt is not used, training starts anew" in capsys.readouterr().out
        assert content(fresh) == before


@pytest.mark.parametrize("origin", [{"seed": 1, "code": "abc"}, {"seed": 0, "code": "x"}])
def test_a_checkpoint_of_another_origin_is_told_and_not_used(
    small_state, checkpoint, make_settings, capsys, origin
):
    checkpoint.save(small_state)
    fresh = new_state(make_settings)
    Checkpoint(checkpoint.path, origin, checkpoint.clock).resume(fresh)
    changed = "seed" if origin["seed"] else "code"
    assert f"it was made with other {changed}." in capsys.readouterr().out
    assert fresh.history == []


def test_only_the_first_epoch_is_that_of_every_schedule(
    small_state, checkpoint, make_settings, capsys
):
    plateau, cosine = {"scheduler": "plateau"}, {"scheduler": "cosine"}
    Checkpoint(checkpoint.path, plateau, checkpoint.clock).save(small_state)
    other = new_state(make_settings)
    assert not Checkpoint(checkpoint.path, cosine, checkpoint.clock).resume(other)
    assert "it was made with other scheduler." in capsys.readouterr().out
    own = checkpoint.path.with_name("own.pt")
    assert Checkpoint(own, plateau, checkpoint.clock, first=checkpoint.path)._origin(
        checkpoint.path
    ) == {"name": checkpoint.path.name}


def test_what_a_killed_process_left_half_written_is_removed(
    small_state, checkpoint, make_settings, capsys
):
    half = checkpoint.path.with_name(f".{checkpoint.path.name}.123")
    half.write_bytes(b"half")
    checkpoint.resume(new_state(make_settings))
    assert not half.exists()
    assert capsys.readouterr().out == ""
