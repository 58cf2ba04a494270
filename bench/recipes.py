"""How accurate a model is after so much CPU time: our recipe and the recipes that people install.

All start from the same packaged weights, train on the same images and are judged on the same
validation and test images, on one thread. The time includes everything that a recipe does with the
images until the model is trained, decoding among it; starting Python and judging the model are left
out. Each recipe is used as its documentation says, and the others may use all instructions of the
processor (but in NumPy, which has read by then what we allow it).
"""

import resource
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn.functional import cross_entropy

from effnet_core import processor, run
from effnet_core.data.datasets import Dataset, load_dataset
from effnet_core.data.images import decode
from effnet_core.data.splits import Split, split_dataset
from effnet_core.errors import InputError
from effnet_core.model.backbones import Backbone, load_backbone
from effnet_core.study.design import Settings
from effnet_core.study.studies import read_settings

# The recommended recipe.
OURS = {
    **{"norm_statistics": "pretrained", "learning_rate": (1e-4, 3e-4), "augment": "none"},
    **{"head": "none", "scheduler": "cosine", "early_stop_patience": None},
}
HEAD_EPOCHS, BATCH = 5, 64  # of Keras' guide to transfer learning
FASTAI = "fastai is not installed: pip install '.[recipes]'"


def settings_of(study: str, side: int, seed: int) -> Settings:
    """Our recipe on the images of a study."""
    return read_settings({"study": study, "image_size": side, "seed": seed} | OURS)


def trained(study: str, side: str, tool: str, *options: str) -> dict[str, float]:
    """Train one model.

    Args:
        study: `elpv` or `fashion`, whose images and split are used.
        side: of the images, pixels.
        tool: a name of `TOOLS`.
        options: numbers that the tool takes, and last the seed.

    Returns:
        `cpu_seconds`, and accuracy, per cent: `validation`, and `accuracy` on test images.
    """
    if tool != "ours":
        processor.use("native")  # before PyTorch computes
    torch.set_num_threads(1)
    *numbers, seed = map(int, options)
    settings = settings_of(study, int(side), seed)
    torch.manual_seed(seed)
    before = _cpu_seconds()
    judge = TOOLS[tool](settings, *numbers)
    seconds = _cpu_seconds() - before
    reached = judge()
    return {
        "cpu_seconds": seconds - reached.judging,
        "validation": reached.validation,
        "accuracy": reached.test,
    }


class Reached(NamedTuple):
    """Accuracy on the validation and test images, per cent.

    `judging` is CPU time that a recipe spent on them before it gave the trained model, s.
    """

    validation: float
    test: float
    judging: float = 0.0


Judge = Callable[[], Reached]  # of a trained model


def _cpu_seconds() -> float:
    """CPU time of this process and of those that it started."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def ours(settings: Settings, freeze: int, epochs: int) -> Judge:
    """Our recipe, with whatever a run does; its record is not kept."""
    record, _ = run.repeat(settings.model_copy(update={"freeze": freeze, "epochs": epochs}))
    scores = (record.outcome.validation.accuracy, record.outcome.test.accuracy)
    return lambda: Reached(*scores, record.made.cpu_seconds["evaluate"])


class Images:
    """The decoded images of a run's parts, and the backbone that all recipes start from."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.dataset: Dataset = load_dataset(settings.dataset, settings.data_dir)
        self.split: Split = split_dataset(self.dataset, settings)
        self.backbone: Backbone = load_backbone(settings.backbone, settings.weights)
        self.labels = torch.from_numpy(self.dataset.labels)
        self.pixels: dict[int, np.ndarray] = {}

    def batch(self, indices: np.ndarray) -> torch.Tensor:
        """Normalised images, shape (N, 3, side, side)."""
        for index in set(indices.tolist()) - self.pixels.keys():
            self.pixels[index] = decode(self.dataset.images[index], self.settings.image_size)
        pixels = torch.from_numpy(np.stack([self.pixels[index] for index in indices.tolist()]))
        mean, std = (
            torch.tensor(v).view(1, 3, 1, 1) for v in (self.backbone.mean, self.backbone.std)
        )
        return (pixels.permute(0, 3, 1, 2).float() / 255 - mean) / std

    def logits(
        self, model: Callable[[torch.Tensor], torch.Tensor], which: np.ndarray
    ) -> np.ndarray:
        """Outputs of a model that does not train, in batches of 64."""
        with torch.no_grad():
            parts = [
                model(self.batch(which[start : start + 64])) for start in range(0, len(which), 64)
            ]
        return torch.cat(parts).numpy()

    def judge(self, predict: Callable[[np.ndarray], np.ndarray]) -> Judge:
        """How accurate a model is.

        Args:
            predict: gives the class of each of some images.
        """

        def reached() -> Reached:
            labels, parts = self.dataset.labels, (self.split.validation, self.split.test)
            return Reached(*(100 * float((predict(part) == labels[part]).mean()) for part in parts))

        return reached


def probe(settings: Settings) -> Judge:
    """Logistic regression on the frozen network's pooled features, as scikit-learn has it."""
    images = Images(settings)
    network = images.backbone.network.eval()
    network.classifier = nn.Identity()
    train = images.split.train
    fitted = make_pipeline(StandardScaler(), LogisticRegressionCV(max_iter=1000))
    fitted.fit(images.logits(network, train), images.dataset.labels[train])
    return images.judge(lambda part: fitted.predict(images.logits(network, part)))


def keras(settings: Settings, epochs: int) -> Judge:
    """The guide's recipe: the head alone with Adam, then everything at 1e-5, batch norm fixed."""
    images = Images(settings)
    network, split = images.backbone.network, images.split
    network.classifier = nn.Sequential(
        nn.Dropout(0.2), nn.Linear(images.backbone.features, len(images.dataset.classes))
    )
    order = np.random.default_rng(settings.seed)

    def fit(parameters: list[nn.Parameter], rate: float, epochs: int) -> None:
        optimizer = torch.optim.Adam(parameters, lr=rate)
        for _ in range(epochs):
            network.eval()  # batch norm stays as it was trained
            network.classifier.train()
            shuffled = order.permutation(split.train)
            for start in range(0, len(shuffled), BATCH):
                batch = shuffled[start : start + BATCH]
                pixels = images.batch(batch)
                mirrored = torch.from_numpy(order.random(len(batch)) < 0.5)
                pixels[mirrored] = pixels[mirrored].flip(3)
                loss = cross_entropy(network(pixels), images.labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()

    network.requires_grad_(False)
    network.classifier.requires_grad_(True)
    fit([*network.classifier.parameters()], 1e-3, HEAD_EPOCHS)
    network.requires_grad_(True)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
    fit([p for p in network.parameters() if p.requires_grad], 1e-5, epochs)
    network.eval()
    return images.judge(lambda part: images.logits(network, part).argmax(axis=1))


def fastai(settings: Settings, epochs: int) -> Judge:
    """`fine_tune` with its defaults: batches of 64, one cycle, discriminative rates, augmentation.

    Solar cells, which have no top, are flipped upside down too.
    """
    try:
        from fastai.vision import all as vision  # noqa: PLC0415  an extra
    except ImportError:
        raise InputError(FASTAI) from None

    images = Images(settings)
    dataset, split = images.dataset, images.split

    def picture(index: int) -> Any:
        return vision.PILImage.create(decode(dataset.images[index], settings.image_size))

    block = vision.DataBlock(
        blocks=(vision.ImageBlock, vision.CategoryBlock(vocab=list(range(len(dataset.classes))))),
        get_x=picture,
        get_y=lambda index: int(dataset.labels[index]),
        splitter=vision.IndexSplitter(
            range(len(split.train), len(split.train) + len(split.validation))
        ),
        batch_tfms=[
            *vision.aug_transforms(flip_vert=settings.dataset == "elpv"),
            vision.Normalize.from_stats(images.backbone.mean, images.backbone.std, cuda=False),
        ],
    )
    known = np.concatenate([split.train, split.validation]).tolist()
    loaders = block.dataloaders(known, bs=64, num_workers=0, device=torch.device("cpu"))
    learner = vision.vision_learner(loaders, settings.backbone, pretrained=False, normalize=False)
    body = learner.model[0].model  # without the classifier
    if missing := body.load_state_dict(images.backbone.network.state_dict(), strict=False)[0]:
        raise InputError(f"fastai's {settings.backbone} lacks weights, such as {missing[0]}.")
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs)
    network = learner.model.eval()
    return images.judge(lambda part: images.logits(network, part).argmax(axis=1))


TOOLS: dict[str, Callable[..., Judge]] = {
    tool.__name__: tool for tool in (ours, fastai, keras, probe)
}
