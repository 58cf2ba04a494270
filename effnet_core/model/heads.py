"""The new head, from pooled features to the classes of a data set."""

import torch
from torch import nn

from effnet_core.study.design import Settings


def build_head(settings: Settings, features: int, classes: int) -> nn.Module:
    """Build a head with new weights, which depend on the seed alone.

    Args:
        settings: `head` none is one linear layer; `mlp` is the source's "2 linear layers with
            dropout": dropout, linear, activation, dropout, linear.
        features: width of the pooled features.
        classes: number of classes.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        if settings.head == "none":
            return nn.Linear(features, classes)
        return nn.Sequential(
            nn.Dropout(settings.dropout),
            nn.Linear(features, settings.hidden_width),
            nn.ReLU(),
            nn.Dropout(settings.dropout),
            nn.Linear(settings.hidden_width, classes),
        )
