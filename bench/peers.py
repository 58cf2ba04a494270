"""The training loops that people write: what we are compared with.

They get the same images, split, weights, batch-norm statistics, head, schedule and stopping rule
as our runs, the first of our learning rates, and the same frozen stages, through which no gradient
flows either. They decode every image in every epoch, and compute every frozen stage in every step.
"""

import copy
from pathlib import Path

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Subset

from effnet_core.data.datasets import Dataset, load_dataset
from effnet_core.data.images import decode
from effnet_core.data.splits import split_dataset
from effnet_core.model.backbones import Backbone, load_backbone
from effnet_core.model.freezing import FrozenNetwork
from effnet_core.model.heads import build_head
from effnet_core.study.design import Settings
from effnet_core.training.schedules import Schedule

# Where the loops that use torchcache share the activations of their frozen stages.
TORCHCACHE = Path("torchcache")


class Decoded(torch.utils.data.Dataset):
    """Images that are decoded, resized and normalised whenever they are asked for."""

    def __init__(self, dataset: Dataset, size: int, backbone: Backbone) -> None:
        self.dataset, self.size = dataset, size
        self.mean, self.std = (torch.tensor(v).view(3, 1, 1) for v in (backbone.mean, backbone.std))

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        pixels = torch.from_numpy(decode(self.dataset.images[index], self.size).copy())
        image = pixels.permute(2, 0, 1).float() / 255
        return (image - self.mean) / self.std, int(self.dataset.labels[index])


def prepare(settings: Settings) -> tuple[FrozenNetwork, dict[str, DataLoader]]:
    """The model, and a loader for each part of the data."""
    dataset = load_dataset(settings.dataset, settings.data_dir, settings.labels, settings.groups)
    parts = split_dataset(dataset, settings)
    backbone = load_backbone(settings.backbone, settings.weights)
    head = build_head(settings, backbone.features, len(dataset.classes))
    images = Decoded(dataset, settings.image_size, backbone)
    torch.manual_seed(settings.seed)
    loaders = {
        part: DataLoader(
            Subset(images, indices.tolist()), settings.batch_size, shuffle=part == "train"
        )
        for part, indices in (
            ("train", parts.train),
            ("validation", parts.validation),
            ("test", parts.test),
        )
    }
    keep = settings.norm_statistics == "pretrained"
    return FrozenNetwork(backbone.network, head, settings.freeze, keep_statistics=keep), loaders


def plain(settings: Settings, *, channels_last: bool = False, torchcache: bool = False) -> float:
    """The usual loop, with Adam as it comes.

    Returns:
        Test accuracy of the best epoch, per cent.
    """
    model, loaders = prepare(settings)
    if channels_last:
        model.to(memory_format=torch.channels_last)
    if torchcache and settings.freeze:
        model.prefix = _remembering(model.prefix, settings.freeze)
    optimizer = torch.optim.Adam(model.trainable_parameters(), lr=settings.rates[0])
    schedule = Schedule(optimizer, settings)
    best, best_epoch, weights = -1.0, 0, model.state_dict()
    for epoch in range(settings.epochs):
        model.train()
        for images, labels in loaders["train"]:
            if channels_last:
                images = images.contiguous(memory_format=torch.channels_last)  # noqa: PLW2901
            loss = cross_entropy(model(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        accuracy, loss = evaluate(model, loaders["validation"])
        if accuracy > best:
            best, best_epoch, weights = accuracy, epoch, copy.deepcopy(model.state_dict())
        schedule.step(loss)
        if epoch - best_epoch >= settings.patience:
            break
    model.load_state_dict(weights)
    return evaluate(model, loaders["test"])[0]


@torch.no_grad()
def evaluate(model: nn.Module, loader: DataLoader) -> tuple[float, float]:
    """Accuracy, per cent, and mean loss."""
    model.eval()
    outputs = [(model(images), labels) for images, labels in loader]
    logits, labels = (torch.cat(parts) for parts in zip(*outputs, strict=True))
    accuracy = 100 * float((logits.argmax(1) == labels).float().mean())
    return accuracy, float(cross_entropy(logits, labels))


def _remembering(prefix: nn.Module, freeze: int) -> nn.Module:
    """A frozen prefix under torchcache, its files shared by all runs of its depth."""
    from torchcache import torchcache as cached  # noqa: PLC0415  only this peer needs it

    class Prefix(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.inner(images)

    folder = str(TORCHCACHE.resolve())
    decorate = cached(
        persistent=True, persistent_cache_dir=folder, persistent_module_hash=f"depth{freeze}"
    )
    return decorate(Prefix)(prefix)


def lightning(settings: Settings) -> float:
    """The same with Lightning's trainer and callbacks; returns as `plain`."""
    import lightning as lit  # noqa: PLC0415  takes seconds, and only this peer needs it
    from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint  # noqa: PLC0415

    network, loaders = prepare(settings)

    class Module(lit.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def training_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
            images, labels = batch
            return cross_entropy(self.network(images), labels)

        def validation_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
            images, labels = batch
            logits = self.network(images)
            self.log("loss", cross_entropy(logits, labels), batch_size=len(labels))
            right = (logits.argmax(1) == labels).float().mean()
            self.log("accuracy", right, batch_size=len(labels))

        test_step = validation_step

        def configure_optimizers(self) -> dict:
            optimizer = torch.optim.Adam(network.trainable_parameters(), lr=settings.rates[0])
            scheduler = Schedule(optimizer, settings).scheduler
            return {
                "optimizer": optimizer,
                "lr_scheduler": {"scheduler": scheduler, "monitor": "loss", "interval": "epoch"},
            }

    keep = ModelCheckpoint(monitor="accuracy", mode="max", dirpath=f"lightning/{settings.run_id}")
    stop = EarlyStopping("accuracy", mode="max", patience=settings.patience)
    trainer = lit.Trainer(
        accelerator="cpu",
        max_epochs=settings.epochs,
        callbacks=[keep, stop],
        logger=False,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(), loaders["train"], loaders["validation"])
    metrics = trainer.test(dataloaders=loaders["test"], ckpt_path="best", verbose=False)
    return 100 * metrics[0]["accuracy"]


PEERS = {
    "plain": plain,
    "channels_last": lambda settings: plain(settings, channels_last=True),
    "torchcache": lambda settings: plain(settings, channels_last=True, torchcache=True),
    "lightning": lightning,
}
