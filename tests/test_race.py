"""Several learning rates race, and the run goes on as if it had had the best alone."""

import shutil

import pytest
from factories import SMALL, train

from effnet_core import paths, run
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.design import SCHEDULERS
from effnet_core.training.checkpoints import Checkpoint

# Everything random that a run can have, in a network that is trained in a moment.
RICH = SMALL | {"head": "mlp", "drop_path": 0.2, "dropout": 0.4}
RICH |= {"epochs": 3, "max_images": 50, "freeze": 5, "norm_statistics": "pretrained"}
RICH |= {"augment": "flips_and_turns", "class_weights": "balanced", "layer_decay": 0.8}
RICH |= {"head_first": 2}
RATES = [1e-5, 3e-3, 1e30, 1e-3]  # the third diverges

pytestmark = pytest.mark.usefixtures("every_epoch_saved")


class KilledError(Exception):
    """Stands for a process that ends between two lines."""


def killed(monkeypatch, saves: int, **settings) -> bool:
    """Train, and be gone after so many checkpoints; whether training was that long."""
    save, left = Checkpoint.save, [saves]

    def save_and_go(self, state):
        save(self, state)
        left[0] -= 1
        if not left[0]:
            raise KilledError

    this = run.begin(settings)
    data = run.load_data(this)
    model = run.build_model(this, data)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(Checkpoint, "save", save_and_go)
            run.train(this, data, model)
    except KilledError:
        return True
    finally:
        this.lock.release()
    return False


def assert_same(found, expected) -> None:
    """In all but where and when, and the settings."""
    aside = {name: getattr(expected, name) for name in ("made", "settings")}
    assert found.model_copy(update=aside) == expected


@pytest.mark.slow
@pytest.mark.parametrize("race_epochs", [1, 2])
def test_the_winner_goes_on_as_if_it_had_run_alone(own_folders, race_epochs):
    alone = {rate: train(**RICH | {"learning_rate": rate}) for rate in RATES if rate < 1}
    raced = train(**RICH | {"learning_rate": RATES, "race_epochs": race_epochs})
    losses = {
        rate: record.outcome.history[race_epochs - 1].validation.loss
        for rate, record in alone.items()
    }
    heats = {heat.learning_rate: heat.validation_loss for heat in raced.outcome.race}
    assert list(heats) == RATES
    assert heats == losses | {1e30: None}
    best = alone[min(losses, key=losses.__getitem__)]
    assert raced.outcome.model_copy(update={"race": []}) == best.outcome
    assert raced.predictions == best.predictions
    recorded = records.record_path(raced.settings.study, raced.run_id)
    assert records.load(recorded) == raced


@pytest.mark.slow
@pytest.mark.parametrize("race_epochs", [1, 2])
def test_a_race_killed_at_any_moment_ends_the_same_to_the_bit(
    own_folders, monkeypatch, capsys, race_epochs
):
    settings = RICH | {"learning_rate": RATES, "race_epochs": race_epochs}
    whole, _ = run.repeat(run.begin(settings).settings)
    saves = 0
    while killed(monkeypatch, saves := saves + 1, **settings):
        capsys.readouterr()
        assert_same(train(**settings), whole)
        assert "Resumed after epoch" in capsys.readouterr().out
        assert not list(paths.CACHE.rglob("checkpoints/**/*.pt"))
        for folder in (paths.RESULTS, paths.CACHE / "epochs"):
            shutil.rmtree(folder)
    diverged, others = 1, (len(RATES) - 2) * race_epochs
    assert saves - 1 == diverged + others + RICH["epochs"]


@pytest.mark.slow
@pytest.mark.parametrize("race_epochs", [1, 2])
def test_the_schedules_share_what_no_schedule_changed(own_folders, capsys, race_epochs):
    settings = RICH | {"learning_rate": RATES, "race_epochs": race_epochs}
    alone = {
        name: run.repeat(run.begin(settings | {"scheduler": name}).settings)[0]
        for name in SCHEDULERS
    }
    first, second = (train(**settings, scheduler=name) for name in SCHEDULERS)
    assert_same(first, alone["plateau"])
    assert_same(second, alone["cosine"])
    assert not list(paths.CACHE.rglob("*.pt"))
    told = capsys.readouterr().out.split("Resumed after epoch 1")[-1]
    others = (len(RATES) - 2) * race_epochs
    trained = RICH["epochs"] - 1 if race_epochs == 1 else RICH["epochs"] + others - 1
    assert told.count("validation") == trained


def test_a_race_that_all_lose_says_so(own_folders):
    with pytest.raises(InputError, match=r"diverged with every learning rate.*Lower"):
        train(**RICH | {"learning_rate": [1e30, 1e29]})


@pytest.mark.slow
def test_a_single_rate_in_a_list_is_that_rate(own_folders):
    alone, listed = (train(**RICH | {"learning_rate": rate}) for rate in (1e-3, [1e-3]))
    assert_same(listed, alone)
