"""Honest runs of every factor that a study can have are believed."""

import pytest

from effnet_core import paths, run
from effnet_core.study.design import NEVER_A_FACTOR, Levels
from effnet_core.study.studies import load_study
from effnet_report.evidence import loader
from effnet_report.sweep.tasks import Task

LEVELS = {
    "image_size": [32, 40],
    "resize": ["squash", "pad"],
    "background": ["white", "black"],
    "backbone": ["tinynet_e", "tf_efficientnet_lite0"],
    "weights": ["none", "packaged"],
    "hidden_width": [8, 16],
    "dropout": [0.1, 0.5],
    "drop_path": [0.0, 0.2],
    "norm_statistics": ["batch", "pretrained"],
    "augment": ["none", "flips"],
    "class_weights": ["none", "balanced"],
    "learning_rate": [1.0e-4, 1.0e-3, [1.0e-3, 1.0e-4]],
    "race_epochs": [1, 2],
    "layer_decay": [1.0, 0.5],
    "head_first": [0, 1],
    "batch_size": [8, 16],
    "epochs": [1, 2, 3],
    "early_stop_patience": [1, None],
    "select": ["best", "last"],
    "plateau_patience": [0, 1],
    "plateau_factor": [0.1, 0.5],
    "precision": ["float32", "bfloat16"],
}
SHARED = {"image_size", "resize", "backbone", "weights", "hidden_width", "learning_rate"}
ELSEWHERE = {"freeze", "head", "scheduler", "compiled"}  # in each sweep; and for a GPU
STUDY = """
title: One factor
seeds: [0]
factors: {factors}
protocol: {{dataset: digits, max_images: 60, image_size: 32, backbone: {backbone},
  weights: none, epochs: 2, batch_size: 16, freeze: 5{more}}}
"""
# A level says something only together with another setting.
TOGETHER = {
    "hidden_width": ", head: mlp",
    "dropout": ", head: mlp",
    "race_epochs": ", learning_rate: [1.0e-3, 1.0e-4]",
}


def test_every_factor_has_levels_here():
    assert Levels.model_fields.keys() - NEVER_A_FACTOR - LEVELS.keys() == ELSEWHERE


@pytest.mark.slow
@pytest.mark.fault("honest runs")
@pytest.mark.parametrize("factor", LEVELS)
def test_its_runs_are_believed(own_folders, monkeypatch, factor, campaign):
    """`make campaign` tries all of them; here those that decide what records must share."""
    if factor not in SHARED and not campaign:
        pytest.skip("`make campaign` tries this factor")
    monkeypatch.setattr(paths, "STUDIES", own_folders)
    text = STUDY.format(
        factors={factor: LEVELS[factor]},
        backbone="tf_efficientnet_lite0" if factor == "weights" else "tinynet_e",
        more=TOGETHER.get(factor, ""),
    )
    (own_folders / "one.yml").write_text(text.replace("None", "null"))
    runs = list(load_study("one").runs())
    for settings in runs:
        task = Task(settings.run_id, paths.TRAIN_NOTEBOOK, settings.study, settings)
        run.execute(task.parameters())
    loaded = loader.load("one")
    assert loaded.set_aside == {}
    assert loaded.believed.keys() == {settings.run_id for settings in runs}
