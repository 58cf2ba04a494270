"""The script of somebody who knows the machine: what `make bench` holds our sweep against.

One process a core with one thread each, channels last, fused Adam, images decoded once into
memory, all settings in one loop, the longest first; no notebooks, no records, no classical
comparison. Frozen stages are computed in every step, without gradients. Same images, split,
weights, batch-norm statistics, race of rates, head, schedule and stopping rule as ours;
PyTorch with all instructions that it knows.
"""

import copy
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import repeat
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from effnet_core import processor
from effnet_core.data.datasets import Dataset, load_dataset
from effnet_core.data.images import decode
from effnet_core.data.splits import Split, split_dataset
from effnet_core.model.backbones import load_backbone
from effnet_core.model.freezing import FrozenNetwork
from effnet_core.model.heads import build_head
from effnet_core.study.design import Settings
from effnet_core.study.studies import load_study
from effnet_core.training.schedules import Schedule


class Trained(NamedTuple):
    """Test accuracy of the best epoch, per cent; wall seconds of training and evaluation."""

    accuracy: float
    seconds: float


class Memory(NamedTuple):
    """What all processes share, being forked: images, shape (N, side, side, 3), uint8."""

    dataset: Dataset
    split: Split
    images: np.ndarray


SHARED: list[Memory] = []


def train_all(study: str) -> dict[str, float]:
    """All runs of a study of one seed, a core each: test accuracy, per cent, by run id."""
    runs = sorted(load_study(study).runs(), key=lambda run: run.freeze)
    _decode(runs[0])
    with ProcessPoolExecutor(len(os.sched_getaffinity(0)), get_context("fork")) as pool:
        made = pool.map(train, runs)
        return {run.run_id: trained.accuracy for run, trained in zip(runs, made, strict=True)}


def train_one(settings: Settings) -> float:
    """Wall seconds of training and evaluation of one run, alone."""
    _decode(settings)
    return train(settings).seconds


def _decode(settings: Settings) -> None:
    """Read the images that the runs use, with all cores; the others stay zero."""
    processor.use("native")  # before PyTorch computes, here and in what is forked
    dataset = load_dataset(settings.dataset, settings.data_dir)
    parts = split_dataset(dataset, settings)
    used = np.concatenate([parts.train, parts.validation, parts.test])
    side = settings.image_size
    images = np.zeros((len(dataset), side, side, 3), dtype=np.uint8)
    with ThreadPoolExecutor() as pool:
        decoded = pool.map(decode, (dataset.images[index] for index in used), repeat(side))
        for index, image in zip(used, decoded, strict=True):
            images[index] = image
    SHARED[:] = [Memory(dataset, parts, images)]


class Training:
    """A model that trains on the decoded images at one learning rate, from the seed's start."""

    def __init__(self, settings: Settings, rate: float) -> None:
        memory, self.settings = SHARED[0], settings
        backbone = load_backbone(settings.backbone, settings.weights)
        head = build_head(settings, backbone.features, len(memory.dataset.classes))
        self.model = FrozenNetwork(
            backbone.network,
            head,
            settings.freeze,
            keep_statistics=settings.norm_statistics == "pretrained",
        ).to(memory_format=torch.channels_last)
        self.mean, self.std = (
            255 * torch.tensor(v).view(1, 3, 1, 1) for v in (backbone.mean, backbone.std)
        )
        self.images, self.parts = memory.images, memory.split
        self.labels = torch.from_numpy(memory.dataset.labels)
        self.optimizer = torch.optim.Adam(self.model.trainable_parameters(), lr=rate, fused=True)
        self.schedule = Schedule(self.optimizer, settings)
        self.order = np.random.default_rng(settings.seed)
        torch.manual_seed(settings.seed)
        self.random, self.epochs, self.loss = torch.get_rng_state(), 0, 0.0
        self.best, self.best_epoch, self.weights = -1.0, 0, self.model.state_dict()

    def epoch(self) -> None:
        """Train one epoch, evaluate, and let the schedule act."""
        torch.set_rng_state(self.random)
        self.model.train()
        for batch in _batches(self.order.permutation(self.parts.train), self.settings.batch_size):
            loss = cross_entropy(self.logits(batch), self.labels[batch])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
        self.epochs += 1
        accuracy, self.loss = self.evaluate(self.parts.validation)
        if accuracy > self.best:
            self.best, self.best_epoch = accuracy, self.epochs
            self.weights = copy.deepcopy(self.model.state_dict())
        self.schedule.step(self.loss)
        self.random = torch.get_rng_state()

    def logits(self, batch: np.ndarray) -> torch.Tensor:
        pixels = torch.from_numpy(self.images[batch]).permute(0, 3, 1, 2)
        return self.model((pixels.float() - self.mean) / self.std)

    @torch.no_grad()
    def evaluate(self, indices: np.ndarray) -> tuple[float, float]:
        """Accuracy, per cent, and mean loss."""
        self.model.eval()
        size = self.settings.batch_size
        outputs = torch.cat([self.logits(batch) for batch in _batches(indices, size)])
        accuracy = 100 * float((outputs.argmax(1) == self.labels[indices]).double().mean())
        return accuracy, float(cross_entropy(outputs, self.labels[indices]))


def train(settings: Settings) -> Trained:
    """Fine-tune on the decoded images: a race of learning rates, then on with the best."""
    torch.set_num_threads(1)
    raced = [Training(settings, rate) for rate in settings.rates]
    start = time.perf_counter()
    for training in raced:
        for _ in range(settings.race_epochs if len(raced) > 1 else 0):
            training.epoch()
    training = min(raced, key=lambda each: each.loss)
    while training.epochs < settings.epochs:
        training.epoch()
        if training.epochs - training.best_epoch >= settings.patience:
            break
    training.model.load_state_dict(training.weights)
    accuracy, _ = training.evaluate(training.parts.test)
    return Trained(accuracy, time.perf_counter() - start)


def _batches(order: np.ndarray, size: int) -> list[np.ndarray]:
    """An order in pieces; a single image left over, which batch norm refuses, joins the last."""
    cuts = list(range(size, len(order), size))
    return np.split(order, cuts[:-1] if len(order) % size == 1 else cuts)


if __name__ == "__main__":
    print(json.dumps(train_all(sys.argv[1])))
