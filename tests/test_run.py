"""One run in this process: from settings to a record, the same one each time."""

import pytest
from factories import SMALL, train

from effnet_core import run
from effnet_core.errors import InputError
from effnet_core.study import records
from effnet_core.study.design import FREEZE, HEADS, SCHEDULERS
from effnet_core.study.studies import read_settings


@pytest.mark.slow
def test_record_is_true_and_repeatable(trained):
    first = trained
    path = records.record_path(first.settings.study, first.run_id)
    assert records.load(path) == first

    table = records.load_predictions(path)
    for part, stated in (("validation", first.outcome.validation), ("test", first.outcome.test)):
        rows = table[table.part == part]
        assert len(rows) == stated.images
        assert 100 * (rows.label == rows.predicted).mean() == pytest.approx(stated.accuracy)
    best = first.outcome.history[first.outcome.best_epoch - 1]
    assert best.validation == first.outcome.validation
    assert first.outcome.best_of_cycle.accuracy == best.validation.accuracy

    again = train()
    assert again.model_copy(update={"made": first.made}) == first
    other = train(seed=1)
    assert other.outcome.final_weights != first.outcome.final_weights
    assert other.fingerprints.split != first.fingerprints.split
    assert other.fingerprints.data == first.fingerprints.data


@pytest.mark.slow
@pytest.mark.parametrize("freeze", FREEZE)
def test_kept_activations_change_nothing(own_folders, freeze):
    """Of every depth and head; the first head fills what the second reads, and is read again."""
    computed = {
        head: train(freeze=freeze, head=head, scheduler=scheduler, max_images=60, cache_gb=0.0)
        for head, scheduler in zip(HEADS, SCHEDULERS, strict=True)
    }
    assert not list(own_folders.glob("cache/prefix/*"))
    for head in (*HEADS, HEADS[0]):
        scheduler = computed[head].settings.scheduler
        kept = train(freeze=freeze, head=head, scheduler=scheduler, max_images=60)
        assert kept.outcome == computed[head].outcome  # losses, rates, weights: to the bit
        assert kept.predictions == computed[head].predictions
    assert bool(list(own_folders.glob("cache/prefix/*.npy"))) == (freeze > 0)


RECIPES = [
    {"norm_statistics": "pretrained"},
    {"augment": "mirror"},
    {"augment": "flips"},
    {"augment": "flips_and_turns", "head_first": 3},
    {"head_first": 2, "head": "mlp", "layer_decay": 0.7},
    {"learning_rate": [1e-4, 1e-3], "class_weights": "balanced"},
]


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_kept_activations_change_nothing_whatever_the_recipe(own_folders, recipe):
    small = {"freeze": 5, "max_images": 60}
    train(**small)  # whoever comes first keeps the images' own
    recipe = small | {"epochs": 3, "early_stop_patience": None} | recipe
    kept = train(**recipe)
    computed, _ = run.repeat(kept.settings.model_copy(update={"cache_gb": 0.0}))
    assert kept.outcome == computed.outcome
    assert kept.predictions == computed.predictions
    plain = train(**recipe | dict.fromkeys(recipe.keys() & {"augment"}, "none"))
    assert (plain.outcome == kept.outcome) == ("augment" not in recipe)


@pytest.mark.slow
def test_settings_that_change_bits_are_in_the_record(own_folders):
    whole = {"batch_size": 5}  # divides all parts: for a last batch that is smaller, a network is
    # compiled again
    plain, mixed = train(**whole), train(**whole, precision="bfloat16")
    compiled = train(**whole, compiled=True, epochs=1)
    assert (plain.settings.precision, plain.settings.compiled) == ("float32", False)
    assert mixed.settings.precision == "bfloat16"
    assert compiled.settings.compiled
    losses = {record.outcome.history[0].train_loss for record in (plain, mixed)}
    assert len(losses) == 2
    # Rounding differs, the training does not.
    assert compiled.outcome.history[0].train_loss == pytest.approx(
        plain.outcome.history[0].train_loss, rel=1e-3
    )
    assert max(losses) == pytest.approx(min(losses), rel=0.05)
    assert len({record.settings.study for record in (plain, mixed, compiled)}) == 3


def test_settings_that_differ_from_the_study_make_another_study(own_folders):
    settings = run.begin(SMALL).settings
    assert settings.study.startswith("quick~")
    assert run.begin(SMALL | {"epochs": 3}).settings.study != settings.study
    assert run.begin({"study": "quick", "freeze": 6}).settings.study == "quick"


def test_a_run_is_trained_by_one_process_at_a_time(own_folders):
    settings = read_settings(SMALL)
    with records.claim(settings.study, settings.run_id) as theirs:
        with pytest.raises(InputError, match="being trained by another process"):
            run.begin(SMALL)
        theirs.release(force=True)
    run.begin(SMALL).lock.release()


def test_begin_reads_a_notebooks_names():
    names = {"_i1": "code", "In": [], "run": run, "PAPERMILL_INPUT_PATH": "x", "data": object()}
    begun = run.begin(SMALL | names)
    begun.lock.release()
    assert begun.settings == read_settings(SMALL)
    with pytest.raises(InputError, match="freeze"):
        run.begin(names | {"freeze": "two"})


def test_results_folder_that_can_not_be_written(own_folders):
    (own_folders / "results").write_text("a file in the way")
    with pytest.raises(InputError, match=r"Cannot write .*results"):
        run.begin(SMALL)


def test_gpu_that_is_not_there(own_folders, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="-p device cpu"):
        run.begin(SMALL | {"device": "cuda"})
