"""The notebook's steps in Jupyter: run again, interrupted, out of order, with other settings."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from factories import SMALL, SMALL_CLASSICAL, SMALL_GRID

from effnet_core import paths, run
from effnet_core.errors import InputError
from effnet_core.model.backbones import build_network
from effnet_core.study import records
from effnet_core.training import fit
from effnet_report.baseline import classical

pytestmark = [
    pytest.mark.slow("each trains some runs"),
    pytest.mark.usefixtures("own_folders"),
    pytest.mark.fault("steps run again"),
]
DEEP = SMALL | {"freeze": 5}


def truth(**changes):
    return records.reproducible_part(run.repeat(run.read_settings(DEEP | changes))[0])


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What the run leaves when each step is run once, in order."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paths, "CACHE", tmp_path_factory.mktemp("cache"))
        return truth()


def model_of(this):
    data = run.load_data(this)
    return data, run.build_model(this, data)


def finished(this, data, model):
    fitted = run.train(this, data, model)
    record = run.record(this, data, model, fitted, run.evaluate_parts(this, data, model))
    return records.reproducible_part(record)


def interrupt(monkeypatch, this, data, model, batches: int) -> None:
    """Ctrl-C in the training step, after some batches."""
    left = iter(range(batches))

    def cross_entropy(*given):
        if next(left, None) is None:
            raise KeyboardInterrupt
        return torch.nn.functional.cross_entropy(*given)

    with monkeypatch.context() as patch:
        patch.setattr(fit, "cross_entropy", cross_entropy)
        with pytest.raises(KeyboardInterrupt):
            run.train(this, data, model)


@pytest.mark.parametrize("batches", [1, 2, 4])  # an epoch has 3
def test_an_interrupted_training_begins_again_or_goes_on(
    monkeypatch, every_epoch_saved, alone, batches
):
    this = run.begin(DEEP)
    steps = model_of(this)
    interrupt(monkeypatch, this, *steps, batches)
    assert finished(this, *steps) == alone
    # Nor is anything poisoned for the run that shares its first epoch.
    other = run.execute(DEEP | {"scheduler": "cosine"})
    assert records.reproducible_part(other) == truth(scheduler="cosine")


def test_a_model_that_was_trained_is_trained_from_its_initial_weights(capsys, alone):
    this = run.begin(DEEP)
    steps = model_of(this)
    run.train(this, *steps)
    capsys.readouterr()
    assert finished(this, *steps) == alone
    assert "begins again with its initial weights" in capsys.readouterr().out
    assert finished(this, *steps) == alone  # the record is there: it is compared


def test_all_steps_again_in_one_process_give_the_same(alone):
    for _ in range(2):
        this = run.begin(DEEP)
        assert finished(this, *model_of(this)) == alone


def test_begin_twice_goes_on_and_releases_what_was_begun(alone):
    first = run.begin(DEEP)
    this = run.begin(DEEP)
    assert not first.lock.is_locked
    steps = model_of(this)
    other = run.begin(DEEP | {"freeze": 6})
    assert not this.lock.is_locked
    other.lock.release(force=True)
    assert finished(this, *steps) == alone


def test_data_and_model_of_another_run_are_refused(alone):
    this = run.begin(DEEP)
    data, model = model_of(this)
    for change in ({"freeze": 6}, {"seed": 1}, {"epochs": 3}):
        other = run.begin(DEEP | change)
        with pytest.raises(
            InputError, match=f"images belong to another run .*{next(iter(change))}"
        ):
            run.build_model(other, data)
        own = run.load_data(other)
        with pytest.raises(InputError, match="weights of the model belong to another run"):
            run.train(other, own, model)
        with pytest.raises(InputError, match="weights of the model belong to another run"):
            run.evaluate_parts(other, own, model)
    assert not list(paths.RESULTS.rglob("*.json"))


@pytest.mark.parametrize("step", ["train", "record"])
@pytest.mark.parametrize("change", ["labels", "parts"])
def test_labels_and_parts_changed_in_the_notebook_are_not_recorded(step, change):
    this = run.begin(DEEP)
    data, model = model_of(this)
    fitted = run.train(this, data, model)
    evaluations = run.evaluate_parts(this, data, model)
    if change == "labels":
        data.dataset.labels[:] = data.dataset.labels[::-1].copy()
    else:
        data.split.test[:3] = data.split.train[:3]
    again = {
        "train": lambda: run.train(this, data, model),
        "record": lambda: run.record(this, data, model, fitted, evaluations),
    }
    with pytest.raises(InputError, match="labels or the parts of the images were changed"):
        again[step]()
    assert not list(records.record_files(this.settings.study))


def loaded_again(data, which: str):
    """The data as they are after images moved from one class to another, and were loaded again."""
    labels, images = data.dataset.labels.copy(), data.images.copy()
    moved = {"validation": data.split.validation, "train": data.split.train}.get(which, [])[:4]
    labels[moved] = (labels[moved] + 1) % len(data.dataset.classes)
    if which == "images":
        images = images[::-1].copy()
    return replace(data, dataset=replace(data.dataset, labels=labels), images=images)


def test_data_loaded_again_unchanged_are_the_same_data(alone):
    this = run.begin(DEEP)
    _, model = model_of(this)
    fitted = run.train(this, run.load_data(this), model)
    evaluations = run.evaluate_parts(this, run.load_data(this), model)
    record = run.record(this, run.load_data(this), model, fitted, evaluations)
    assert records.reproducible_part(record) == alone


def test_a_model_of_other_images_is_not_trained():
    this = run.begin(DEEP)
    data, model = model_of(this)
    with pytest.raises(InputError, match="images changed after the model was built"):
        run.train(this, loaded_again(data, "images"), model)


def test_pixels_changed_in_the_notebook_are_not_trained_on_and_poison_no_cache(alone):
    this = run.begin(DEEP)
    data = replace(run.load_data(this), images=255 - run.load_data(this).images)
    with pytest.raises(InputError, match="pixels of the images were changed"):
        run.train(this, data, run.build_model(this, data))
    reversed_images = replace(data, images=run.load_data(this).images[::-1])
    with pytest.raises(InputError, match="pixels of the images were changed"):
        run.train(this, reversed_images, run.build_model(this, reversed_images))
    assert finished(this, *model_of(this)) == alone


def test_a_model_in_another_mode_trains_as_always(alone):
    this = run.begin(DEEP)
    data, model = model_of(this)
    model.backbone.network.train()  # the frozen part too
    assert finished(this, data, model) == alone


@pytest.mark.parametrize("part", ["prefix", "suffix"])
def test_a_model_frozen_otherwise_by_hand_is_refused(part):
    this = run.begin(DEEP)
    data, model = model_of(this)
    getattr(model.network, part)[1].requires_grad_(part == "prefix")
    with pytest.raises(InputError, match="frozen or thawed since it was built"):
        run.train(this, data, model)


def test_a_model_of_more_classes_is_not_trained():
    this = run.begin(DEEP)
    data, model = model_of(this)
    labels, classes = data.dataset.labels, data.dataset.classes[:-1]
    merged = replace(data.dataset, classes=classes, labels=labels.clip(max=len(classes) - 1))
    with pytest.raises(InputError, match="classes changed after the model was built"):
        run.train(this, replace(data, dataset=merged), model)


@pytest.mark.parametrize(
    ("which", "told"),
    [
        ("images", "images changed after the model was built"),
        ("validation", "validation images or their labels changed after they were predicted"),
        ("train", "training images or their labels changed after the training"),
    ],
)
def test_data_that_changed_after_the_training_are_not_recorded(which, told):
    this = run.begin(DEEP)
    data, model = model_of(this)
    fitted = run.train(this, data, model)
    evaluations = run.evaluate_parts(this, data, model)
    with pytest.raises(InputError, match=told):
        run.record(this, loaded_again(data, which), model, fitted, evaluations)
    assert not list(records.record_files(this.settings.study))


@pytest.mark.parametrize("again", ["begin", "load_data", "labels"])
def test_classical_models_of_other_data_are_not_recorded(again):
    this = run.begin(SMALL_CLASSICAL, records.classical_id(0))
    data = run.load_data(this)
    baseline = classical.compare(this, data, "baseline", [classical.BASELINE])
    if again == "begin":
        this = run.begin(SMALL_CLASSICAL, records.classical_id(0))
    if again in ("begin", "load_data"):
        data = run.load_data(this)
    best = classical.compare(this, data, "grid", SMALL_GRID[:1])
    told = "Run both comparisons again"
    if again == "labels":
        data, told = loaded_again(data, "validation"), "changed after they were predicted"
    with pytest.raises(InputError, match=told):
        classical.record(this, data, baseline=baseline, classical=best)
    assert not list(records.record_files(this.settings.study))


@pytest.mark.parametrize("replaced", [False, True])
def test_classical_models_of_weights_that_were_replaced_are_not_recorded(tmp_path, replaced):
    weights = tmp_path / "weights.pth"
    network = build_network(SMALL["backbone"])
    torch.save(network.state_dict(), weights)
    chosen = SMALL_CLASSICAL | {"weights": str(weights)}
    this = run.begin(chosen, records.classical_id(0))
    data = run.load_data(this)
    found = [classical.compare(this, data, kind, SMALL_GRID[:1]) for kind in ("baseline", "grid")]
    made = partial(classical.record, this, data, baseline=found[0], classical=found[1])
    if not replaced:
        assert made()
        return
    other = tmp_path / "other.pth"
    torch.save({name: value + 1 for name, value in network.state_dict().items()}, other)
    other.replace(weights)
    with pytest.raises(InputError, match=r"weights.pth changed after the run began"):
        made()
    assert not list(records.record_files(this.settings.study))


def test_a_model_trained_on_after_its_evaluation_is_not_recorded(monkeypatch, alone):
    this = run.begin(DEEP)
    data, model = model_of(this)
    fitted = run.train(this, data, model)
    evaluations = run.evaluate_parts(this, data, model)
    interrupt(monkeypatch, this, data, model, 1)
    with pytest.raises(InputError, match="Run train, evaluate_parts and record again"):
        run.record(this, data, model, fitted, evaluations)
    halfway = run.evaluate_parts(this, data, model)
    with pytest.raises(InputError, match="Run train, evaluate_parts and record again"):
        run.record(this, data, model, fitted, halfway)
    assert not list(paths.RESULTS.rglob("*.json"))
    assert finished(this, data, model) == alone


def test_a_model_with_other_layers_is_refused():
    this = run.begin(DEEP)
    data, model = model_of(this)
    model.network.suffix[-1] = torch.nn.Linear(7, 3)
    with pytest.raises(InputError, match="was changed since it was built"):
        run.train(this, data, model)
