import re
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from effnet_core import paths
from effnet_core.errors import InputError
from effnet_core.study import design, studies
from effnet_core.study.design import Protocol, Settings
from effnet_core.study.studies import load_study, override_lines, read_settings
from effnet_report.evidence import loader
from effnet_report.sweep.tasks import tasks_of

# Studies with the source's factors.
OF_THE_SOURCE = ["elpv", "elpv_source", "fashion", "fashion_source", "paper", "quick"]
STUDIES = [*OF_THE_SOURCE, "recipe"]
CONFIGURATION = {"freeze": 2, "head": "none", "scheduler": "plateau", "seed": 0}

# Columns "Additional layers", "N-Freeze" and "Scheduler" of the source's Table 1, row by row.
TABLE_1 = [
    *[("none", 0, "plateau"), ("none", 0, "cosine"), ("mlp", 0, "plateau"), ("mlp", 0, "cosine")],
    *[("none", 1, "plateau"), ("none", 1, "cosine"), ("mlp", 1, "plateau"), ("mlp", 1, "cosine")],
    *[("none", 2, "plateau"), ("none", 2, "cosine"), ("mlp", 2, "plateau"), ("mlp", 2, "cosine")],
    *[("none", 3, "plateau"), ("none", 3, "cosine"), ("mlp", 3, "plateau"), ("mlp", 3, "cosine")],
    *[("none", 4, "plateau"), ("none", 4, "cosine"), ("mlp", 4, "plateau"), ("mlp", 4, "cosine")],
    *[("none", 5, "plateau"), ("none", 5, "cosine"), ("mlp", 5, "plateau"), ("mlp", 5, "cosine")],
    *[("none", 6, "plateau"), ("none", 6, "cosine"), ("mlp", 6, "plateau"), ("mlp", 6, "cosine")],
]

# The source, section 2: "initial learning rate 1e-5", "batch size 4", "at most 15 epochs",
# "train : validation 3 : 1", "early_stop_patience 2", "ReduceLROnPlateau(patience=1, factor=0.5)";
# section 1: "EfficientNetV2 L (input 480x480)".
SOURCE = {
    "backbone": "tf_efficientnetv2_l.in21k_ft_in1k",
    "image_size": 480,
    "learning_rate": 1e-5,
    "batch_size": 4,
    "epochs": 15,
    "validation_share": 0.25,
    "early_stop_patience": 2,
    "plateau_patience": 1,
    "plateau_factor": 0.5,
    "weights": "hub",
    "dataset": "imagefolder",
    "max_images": 0,
}


def test_the_studies_are_the_ones_tested_here():
    """Those in git: a user may have more."""
    listed = subprocess.run(
        ["git", "ls-files", "studies"], cwd=paths.ROOT, capture_output=True, text=True, check=True
    )
    assert [Path(name).stem for name in listed.stdout.split()] == STUDIES
    assert {*STUDIES} <= {*studies.study_names()}


@pytest.mark.parametrize("name", OF_THE_SOURCE)
def test_a_study_of_the_sources_factors_has_28_configurations_in_the_order_of_table_1(name):
    study = load_study(name)
    runs = list(study.runs())
    assert len(runs) == 28 * len(study.seeds)
    for place, run in enumerate(runs):
        assert run.number == 1 + place % 28
        assert (run.head, run.freeze, run.scheduler) == TABLE_1[run.number - 1]
        assert run.seed == study.seeds[place // 28]
        assert run.study == name
    assert len({run.run_id for run in runs}) == len(runs)


def test_paper_is_the_sources_protocol_line_by_line():
    protocol = load_study("paper").protocol.model_dump()
    assert {name: protocol[name] for name in SOURCE} == SOURCE


def test_schedule_and_patience_are_the_sources():
    names = ("batch_size", "early_stop_patience", "plateau_patience", "plateau_factor")
    for study in {*OF_THE_SOURCE} - {"quick", "elpv", "fashion"}:  # with the pilot's recipe
        protocol = load_study(study).protocol
        assert {n: getattr(protocol, n) for n in names} == {n: SOURCE[n] for n in names}


def test_run_ids_sort_as_table_1():
    runs = [
        Settings(image_size=32, freeze=freeze, head=head, scheduler=scheduler)
        for head, freeze, scheduler in TABLE_1
    ]
    ids = [run.run_id for run in runs]
    assert ids == sorted(ids)
    assert ids[8] == "09-freeze2-none-plateau-seed0"
    assert [run.number for run in runs] == list(range(1, 29))


def test_settings_of_a_study_are_one_of_its_runs():
    assert read_settings({"study": "quick", **CONFIGURATION}) in list(load_study("quick").runs())


def test_an_override_makes_a_study_of_another_name():
    given_twice = [read_settings(CONFIGURATION | {"epochs": 1}) for _ in range(2)]
    other = read_settings(CONFIGURATION | {"epochs": 2})
    names = {run.study for run in (*given_twice, other)}
    assert len(names) == 2
    assert all(re.fullmatch(r"quick~[0-9a-f]{12}", name) for name in names)
    assert given_twice[0].epochs == 1
    assert override_lines(given_twice[0], load_study("quick")) == ["epochs: 3 -> 1"]


def test_the_studys_own_value_none_and_an_equal_number_are_no_override():
    same = {"epochs": load_study("quick").protocol.epochs, "data_dir": None, "image_size": None}
    assert read_settings(CONFIGURATION | same).study == "quick"
    one, also_one = (read_settings(CONFIGURATION | {"learning_rate": r}) for r in (1, 1.0))
    assert one == also_one


def test_ctrl_c_while_settings_are_written_is_an_interruption():
    def press(frame, event, _):  # Python sees the signal at the next call of a Python function
        if event == "call" and frame.f_code.co_filename == design.__file__:
            raise KeyboardInterrupt

    raced = read_settings({"learning_rate": [1e-4, 3e-4]})
    sys.setprofile(press)
    try:
        content = raced.model_dump(mode="json")
    except KeyboardInterrupt:
        return
    finally:
        sys.setprofile(None)
    assert content["learning_rate"] == [1e-4, 3e-4]


def test_a_race_can_be_typed():
    """papermill passes `-p learning_rate '[3e-5, 1e-4, 3e-4]'` as text."""
    typed = read_settings(CONFIGURATION | {"learning_rate": "[3e-5, 1e-4, 3e-4]"})
    written = read_settings(CONFIGURATION | {"learning_rate": [3e-5, 1e-4, 3e-4]})
    assert typed == written
    assert typed.rates == (3e-5, 1e-4, 3e-4)
    assert read_settings(CONFIGURATION | {"learning_rate": 1e-4}).rates == (1e-4,)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (
            {"study": "quik"},
            ["'quik'", "did you mean 'quick'?", "elpv, elpv_source, fashion"],
        ),
        ({"study": 3}, ["study = 3", "'quick'"]),
        ({"frieze": 2}, ["'frieze'", "did you mean 'freeze'?", "scheduler"]),
        ({"zzz": 2}, ["no setting 'zzz'. Valid names: ", "freeze, head, scheduler, seed"]),
        ({"freeze": -1}, ["freeze = -1", "greater than or equal to 0"]),
        ({"freeze": 7}, ["freeze = 7", "less than or equal to 6"]),
        ({"freeze": "two"}, ["freeze = 'two'", "integer"]),
        ({"freeze": 2.0}, ["freeze = 2.0", "integer"]),
        ({"freeze": True}, ["freeze = True", "integer"]),
        ({"threads": 10_000}, ["threads = 10000", "less than or equal to 1024"]),
        ({"batch_size": 10**23}, ["batch_size = 1", "less than or equal to 1000000000"]),
        ({"head": "mpl"}, ["head = 'mpl'", "'none' or 'mlp'", "did you mean 'mlp'?"]),
        ({"scheduler": "cosin"}, ["'plateau' or 'cosine'", "did you mean 'cosine'?"]),
        ({"dataset": "eplv"}, ["dataset = 'eplv'", "imagefolder", "did you mean 'elpv'?"]),
        ({"dataset": 5}, ["dataset = 5", "'elpv'"]),
        ({"image_size": 4000}, ["image_size = 4000", "2048"]),
        ({"learning_rate": 0.0}, ["learning_rate = 0.0", "greater than 0"]),
        ({"learning_rate": float("nan")}, ["learning_rate = nan"]),
        ({"learning_rate": float("inf")}, ["learning_rate = inf", "finite"]),
        ({"learning_rate": "0.1, 0.2"}, ["learning_rate = '0.1, 0.2'", "a list of such numbers"]),
        ({"learning_rate": [1e-4, "x"]}, ["learning_rate = [0.0001, 'x']"]),
        (
            {"learning_rate": [1e-4, 1e-4]},
            ["learning_rate = [0.0001, 0.0001]", "all different"],
        ),
        ({"learning_rate": []}, ["learning_rate = []"]),
        (
            {"learning_rate": [0.1, 0.2], "race_epochs": 9},
            ["race_epochs = 9", "which is 3"],
        ),
        ({"norm_statistics": "still"}, ["norm_statistics = 'still'", "'batch' or 'pretrained'"]),
        ({"batch_size": 1}, ["batch_size = 1", "greater than or equal to 2"]),
        ({"seed": -1}, ["seed = -1", "greater than or equal to 0"]),
        ({"folds": 1}, ["folds must be 0, or 2 and more"]),
        ({"folds": 4, "official_test": True}, ["With official_test: true it must be 0"]),
        ({"train_images": -1}, ["train_images = -1", "greater than or equal to 0"]),
        ({"device": "gpu"}, ["device = 'gpu'", "'cpu' or 'cuda'"]),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_right(wrong, words):
    with pytest.raises(InputError) as caught:
        read_settings(CONFIGURATION | wrong)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_all_problems_are_named_at_once():
    with pytest.raises(InputError, match=r"freeze = 7.*head = 'mpl'"):
        read_settings(CONFIGURATION | {"freeze": 7, "head": "mpl"})


PROTOCOL = "protocol: {dataset: digits, image_size: 32, weights: none}"


def test_a_study_of_your_own_is_a_file(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_text(f"title: t\nseeds: [3]\nfactors: {{freeze: [0, 6]}}\n{PROTOCOL}")
    runs = list(load_study(str(path)).runs())
    assert [run.number for run in runs] == [1, 2, 3, 4, 25, 26, 27, 28]
    assert {(run.study, run.seed, run.dataset) for run in runs} == {("mine", 3, "digits")}


OWN = """
title: t
seeds: [0, 1]
factors:
  learning_rate: [1.0e-4, 1, [1.0e-4, 3.0e-4]]
  freeze: [0, 6]
  dropout: [0.3, 0.0]
  early_stop_patience: [2, null]
  resize: [squash, crop]
  weights: [none, packaged]
"""


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "own.yml"
    path.write_text(OWN + PROTOCOL)
    return load_study(str(path))


def test_any_setting_that_decides_an_outcome_can_be_a_factor(own):
    runs = list(own.runs())
    assert len(runs) == 3 * 2**5 * 2
    assert [run.number for run in runs] == [*range(1, 97)] * 2
    assert (
        runs[0].run_id
        == "01-lr1e-4-freeze0-dropout0.3-early_stop_patience2-squash-no_weights-seed0"
    )
    assert runs[0].levels == {
        "learning_rate": 1e-4, "freeze": 0, "dropout": 0.3, "early_stop_patience": 2,
        "resize": "squash", "weights": "none",
    }  # fmt: skip
    assert (runs[0].head, runs[0].scheduler) == ("none", "plateau")
    assert runs[95].run_id.startswith("96-lr1e-4_3e-4-freeze6-dropout0-no_early_stop_patience-crop")
    assert type(runs[40].learning_rate) is float
    assert len({run.run_id for run in runs}) == len(runs)


def test_a_run_is_named_and_numbered_by_the_factors_of_its_study(own, monkeypatch, tmp_path):
    last = list(own.runs())[-1]
    file = str(tmp_path / "own.yml")
    task = tasks_of(own, file)[-2]
    assert task.settings == last
    assert read_settings(task.parameters()) == last
    first = read_settings({"study": file, "learning_rate": None, "head": None})
    assert first == next(own.runs())
    assert Settings.model_validate_json(last.model_dump_json()).run_id == last.run_id
    other = read_settings({"study": file, "head": "mlp"})  # no factor: another study
    assert re.fullmatch(r"own~[0-9a-f]{12}", other.study)
    assert other.run_id == first.run_id
    beside = read_settings({"study": file, "freeze": 3})
    assert (beside.study, beside.number) == ("own", 0)  # no configuration of the design
    assert beside.run_id.startswith("00-lr1e-4-freeze3-")


def test_runs_that_differ_in_their_schedule_alone_know_each_other(own):
    (run,) = next(own.runs()).schedules
    assert run == next(own.runs())
    sharing = next(load_study("quick").runs()).schedules
    assert [one.number for one in sharing] == [1, 2]


@pytest.mark.slow
@settings(max_examples=30)
@given(st.text(min_size=1), st.text(min_size=1))
def test_names_of_runs_are_different_file_names_whatever_the_levels(one, other):
    factors = {"weights": list(dict.fromkeys([one, other])), "backbone": ["x" * 300]}
    names = []
    for weights in factors["weights"]:
        run = Settings(image_size=32, factors=factors, weights=weights, backbone="x" * 300)
        names.append(run.run_id)
        assert re.fullmatch(r"[\w.-]+", run.run_id, re.ASCII)
        assert len(run.run_id.encode()) < 200
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", ["not valid YAML"]),
        ("just words", ["must hold settings"]),
        ("", ["must hold settings"]),
        ("title: t\nseeds: [0]\n", ["protocol is missing"]),
        (f"title: t\nseeds: []\n{PROTOCOL}", ["seeds = []", "at least 1 item"]),
        (f"title: t\nseeds: [a]\n{PROTOCOL}", ["seeds.0 = 'a'", "integer"]),
        (f"title: t\nseeds: [0]\nprotocl: {{}}\n{PROTOCOL}", ["did you mean 'protocol'?"]),
        (f"name: x\ntitle: t\nseeds: [0]\n{PROTOCOL}", ["Remove `name`"]),
        ("title: t\nseeds: [0]\nprotocol: {epoch: 3}", ["did you mean 'epochs'?", "image_size"]),
        (f"title: t\nseeds: [0]\nfactors: {{heads: [mlp]}}\n{PROTOCOL}", ["did you mean 'head'?"]),
        (f"title: t\nseeds: [0]\nfactors: {{head: []}}\n{PROTOCOL}", ["factors.head = []"]),
        ("title: t\nseeds: [0]\nprotocol: {image_size: 32, folds: 1}", ["folds must be 0, or 2"]),
        (f"title: t\nseeds: [0]\nfactors: {{freeze: [7]}}\n{PROTOCOL}", ["factors.freeze.0 = 7"]),
        (
            f"title: t\nseeds: [0]\nfactors: {{learning_rate: [-1.0]}}\n{PROTOCOL}",
            ["factors.learning_rate.0 = -1.0", "greater than 0"],
        ),
        (
            f"title: t\nseeds: [0]\nfactors: {{folds: [2, 4]}}\n{PROTOCOL}",
            ["folds is no factor", "the same in all runs"],
        ),
        (f"title: t\nseeds: [0]\nfactors: {{resize: [crpo]}}\n{PROTOCOL}", ["mean 'crop'?"]),
        (f"title: t\nseeds: [0]\nfactors: {{freeze: 3}}\n{PROTOCOL}", ["factors.freeze = 3"]),
        (f"title: t\nseeds: [0]\nfactors: {{}}\n{PROTOCOL}", ["factors = {}"]),
    ],
)
def test_a_wrong_study_file_is_named_with_its_problem(tmp_path, text, words):
    path = tmp_path / "mine.yml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        load_study(str(path))
    assert all(word in str(caught.value) for word in [str(path), *words]), str(caught.value)


def test_a_study_of_more_runs_than_anybody_trains_is_refused_at_once(tmp_path):
    levels = [round(0.001 * n, 3) for n in range(1, 400)]
    study = tmp_path / "large.yml"
    study.write_text(
        f"title: t\nseeds: [0]\nfactors: {{dropout: {levels}, drop_path: {levels}}}\n"
        "protocol: {dataset: digits, image_size: 32}\n"
    )
    with pytest.raises(InputError, match=r"159,201 runs, and 10,000 are possible"):
        load_study(str(study))


def test_a_study_file_in_another_encoding_is_refused(tmp_path):
    path = tmp_path / "mine.yml"
    path.write_bytes(b"title: \xff\xfe")
    with pytest.raises(InputError, match="Save it as UTF-8"):
        load_study(str(path))


@given(st.text().filter(lambda name: name not in STUDIES))
def test_any_other_name_is_not_a_study(name):
    with pytest.raises(InputError):
        load_study(name)


@pytest.mark.parametrize("name", ["..", "...", "-rf", ".hidden", "a b", "<b>", "published", "a\nb"])
def test_a_study_can_not_be_named_out_of_its_folders(tmp_path, name):
    path = tmp_path / f"{name}.yml"
    path.write_text("{title: x, seeds: [0], protocol: {image_size: 32}}")
    for read in (load_study, lambda study: read_settings({"study": study})):
        with pytest.raises(InputError, match=r"name = |is reserved"):
            read(str(path))


def test_a_folder_of_images_is_relative_to_the_file_of_the_study(tmp_path, monkeypatch):
    study = tmp_path / "there" / "mine.yml"
    study.parent.mkdir()
    study.write_text(
        "title: Mine\nseeds: [0]\nprotocol: {dataset: imagefolder, data_dir: ../photos, "
        "labels: mine.csv, image_size: 32}\n"
    )
    monkeypatch.chdir(tmp_path / "there")
    protocol = load_study("mine.yml").protocol
    assert protocol.data_dir == str(tmp_path / "photos")
    assert protocol.labels == str(tmp_path / "there" / "mine.csv")
    settings = next(load_study(str(study)).runs())
    assert settings.recorded().data_dir == "photos"  # no record tells where things lie
    assert settings.recorded().model_copy(update={"data_dir": None, "labels": None}) == (
        settings.model_copy(update={"data_dir": None, "labels": None})
    )


def test_the_main_study_states_the_pilots_figures_and_takes_its_recipe():
    pilot = loader.load("published/recipe").believed.values()
    accuracies = defaultdict(list)
    for record in pilot:
        s = record.settings
        if record.kind == "fine-tuned" and s.freeze == 0:
            recipe = (s.norm_statistics, s.augment, s.learning_rate)
            accuracies[recipe].append(record.outcome.validation.accuracy)
    means = {recipe: statistics.mean(values) for recipe, values in accuracies.items()}

    def best(of: str) -> float:
        return max(mean for recipe, mean in means.items() if of in recipe)

    text = (paths.STUDIES / "elpv.yml").read_text()
    stated = [float(number) for number in re.findall(r"([\d.]+) %", text)]
    chosen = best("pretrained")
    others = [best("batch"), best("flips")]
    assert stated == [round(n, 1) for n in (chosen, others[0], chosen, others[1])]
    protocol = load_study("elpv").protocol
    assert max(means, key=means.get)[:2] == (protocol.norm_statistics, protocol.augment)


def test_a_learning_rate_beyond_all_numbers_is_refused():
    with pytest.raises(ValidationError, match="finite number"):
        Protocol(image_size=32, learning_rate=10**400)
