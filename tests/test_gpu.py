"""The measurement on a GPU: it says where there is none, and its page says what its file does."""

import pytest
import torch
from factories import use_folders

from bench import cluster as simulation
from bench import gpu
from effnet_core.errors import InputError
from effnet_core.model import freezing
from effnet_core.study.design import FREEZE
from effnet_core.study.studies import read_settings
from effnet_report.measurements.cluster import Cluster
from effnet_report.measurements.gpu import Gpu
from effnet_report.pages import speed_details


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_nothing_is_written(tmp_path, monkeypatch):
    use_folders(tmp_path, monkeypatch)
    with pytest.raises(InputError, match="finds no GPU"):
        gpu.main()
    assert not Gpu.path().exists()
    assert "bench.gpu" in speed_details.on_a_gpu().data
    with pytest.raises(InputError, match=r"gpu\.json is missing"):
        simulation.measured()


@pytest.mark.parametrize("form", gpu.FORMS, ids=lambda form: form.name)
def test_what_is_timed_trains_what_is_not_frozen(form, monkeypatch):
    made, passes = [], []

    class Watched(freezing.FrozenNetwork):
        def __init__(self, *parts):
            super().__init__(*parts)
            made.append(self)

    monkeypatch.setattr(freezing, "FrozenNetwork", Watched)
    small = {"device": "cpu", "backbone": "tf_efficientnet_lite0", "image_size": 32}
    settings = read_settings({"study": gpu.STUDY, "freeze": 5} | small)
    _, step = gpu.training_step(gpu.step_of(settings, form), kept=form.kept)
    (model,) = made
    model.prefix.register_forward_hook(lambda *_: passes.append(1))
    before = {name: value.clone() for name, value in model.named_parameters()}
    step()
    moved = {name for name, value in model.named_parameters() if not value.equal(before[name])}
    assert moved
    assert all(name.startswith("suffix.") for name in moved)
    assert len(passes) == (0 if form.kept else 1)


def test_the_page_says_what_was_measured():
    found = Gpu.load()
    page = speed_details.on_a_gpu()
    assert found.machine["gpu"] in page.data
    assert page.data.count("<tr") == 1 + len(FREEZE)
    equal = [str(run.freeze) for run in found.runs if run.equal]
    assert f"whole runs (freeze {', '.join(equal)})" in page.data


def test_the_simulated_cluster_computes_at_the_measured_speed():
    found = Gpu.load()
    card, speed = simulation.measured()
    assert card == found.machine["gpu"]
    reached = [step.flop / step.seconds for step in found.steps if step.freeze == 0]
    assert min(reached) <= speed <= max(reached)
    simulated = Cluster.load()
    assert (simulated.gpu, simulated.speed) == (card, speed)
