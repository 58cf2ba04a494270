"""Small real things that many tests need: settings, a few images, a record, own folders."""

import os
import secrets
import shutil
from pathlib import Path

import effnet_core  # isort: skip  # noqa: F401  before NumPy is loaded: it says with what
import numpy as np
import pandas as pd
import pytest
import torch
from copies import Book, Clone, Here, Swept, swept_study, troubled_book
from factories import even_metrics, once, run_record, train
from hypothesis import settings as hypothesis_settings
from PIL import Image
from selenium import webdriver

from effnet_core import paths
from effnet_core.data.datasets import digits
from effnet_core.data.images import decode
from effnet_core.study import records
from effnet_core.study.design import Settings
from effnet_core.study.schema import Epoch, Record
from effnet_core.training import checkpoints

# Results must not depend on how many cores the machine has, nor may tests fight over them.
torch.set_num_threads(1)
# Ray looks once a process, whichever test is the first to import it.
os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
# Tests kill processes but cut no power, so nothing in this process need wait for the disk: that is
# half a second per made-up study. Processes that tests start wait as they always do.
os.fsync = lambda _: None
hypothesis_settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis_settings.load_profile("steady")

CHROMIUM_FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run "
    "--disable-background-networking --disable-component-update --disable-sync"
)


@pytest.fixture
def own_folders(tmp_path, monkeypatch) -> Path:
    """Records and caches go to a temporary folder, which is returned."""
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(paths, "CACHE", tmp_path / "cache")
    return tmp_path


@pytest.fixture
def folder(tmp_path):
    """Two classes, one of them with a subfolder, and what file managers leave behind."""
    root = tmp_path / "photos"
    for place, name in enumerate(["cat/1.png", "cat/deep/2.png", "dog/1.png"]):
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (5, 4), (50 * place, 0, 0)).save(file)
    (root / "cat" / "Thumbs.db").write_bytes(b"x")
    (root / "dog" / ".DS_Store").write_bytes(b"x")
    (root / ".hidden").mkdir()
    return root


@pytest.fixture
def every_epoch_saved(monkeypatch):
    """Checkpoints are written however short an epoch is."""
    monkeypatch.setattr(checkpoints, "WORTH_SAVING", 0.0)


@pytest.fixture
def make_settings():
    """Settings of a small run on the digits; each can be changed."""

    def make(**changes) -> Settings:
        small = {
            "study": "small",
            "dataset": "digits",
            "image_size": 32,
            "weights": "none",
            "learning_rate": 1e-3,
            "epochs": 2,
            "freeze": 3,
            "head": "none",
            "scheduler": "plateau",
            "seed": 0,
        }
        return Settings(**(small | changes))

    return make


@pytest.fixture(scope="session")
def small_images() -> tuple[np.ndarray, np.ndarray]:
    """24 zeros and ones at 32 x 32: images, shape (24, 32, 32, 3), uint8, and labels."""
    dataset = digits()
    chosen = np.flatnonzero(dataset.labels < 2)[:24]
    images = np.stack([decode(dataset.images[index], 32) for index in chosen])
    return images, dataset.labels[chosen]


@pytest.fixture
def make_record(make_settings):
    """A small record with its predictions file's bytes; all its scores are the accuracy."""

    def make(accuracy: float = 75.0, image: str = "a/1.png", **changes) -> tuple[Record, bytes]:
        rows = [("validation", image, 0, 0, 0.9), ("test", "b/2.png", 1, 0, 0.6)]
        table = pd.DataFrame(rows, columns=records.PREDICTION_COLUMNS)
        scores = even_metrics(accuracy)
        epoch = Epoch(epoch=1, learning_rate=1e-3, train_loss=0.7, validation=scores)
        return run_record(make_settings(**changes), [epoch], scores, table)

    return make


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory) -> tuple[Path, Record]:
    """What the small run leaves, trained once: the folder of its results and caches."""

    def small_run(folder: Path) -> tuple[Path, Record]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(paths, "RESULTS", folder / "results")
            patch.setattr(paths, "CACHE", folder / "cache")
            return folder, train()

    return once(tmp_path_factory, small_run)


@pytest.fixture
def trained(own_folders, trained_run) -> Record:
    """The record of the small run; in the test's own folders lies what it left."""
    folder, record = trained_run
    shutil.copytree(folder, own_folders, dirs_exist_ok=True)
    return record


@pytest.fixture
def clone(tmp_path) -> Clone:
    return Clone(tmp_path / "clone")


@pytest.fixture
def here(tmp_path, monkeypatch, capsys) -> Here:
    return Here(tmp_path, monkeypatch, capsys)


@pytest.fixture(scope="session")
def swept(tmp_path_factory) -> Swept:
    """A finished sweep, done once; its folder is not to be changed."""
    return once(tmp_path_factory, swept_study)


@pytest.fixture(scope="session")
def book(tmp_path_factory) -> Book:
    """The built book of a study in trouble, built once."""
    return once(tmp_path_factory, troubled_book)


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Debian's chromium, steered by selenium; a test that needs it is skipped where it is not."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs Debian's chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in CHROMIUM_FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    steered = webdriver.Chrome(options, webdriver.ChromeService(driver))
    steered.set_script_timeout(300)  # as for a page: a busy machine is no fault of the book
    steered.get("about:blank")
    yield steered
    steered.quit()
