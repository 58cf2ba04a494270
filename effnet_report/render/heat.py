"""An image coloured where it speaks for a class."""

import numpy as np
from PIL import Image

HEAT = np.array([224, 82, 6], np.float32)  # told from grey by whoever sees few colours, too
STRONGEST = 0.7  # share of the colour where the map is highest


def overlay(view: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """An image in grey, coloured where it speaks for the class.

    Args:
        view: shape (side, side, 3), uint8.
        heat: shape (height, width); what is negative stays grey.
    """
    positive = np.maximum(heat, 0) / max(float(heat.max()), 1e-6)
    grown = Image.fromarray(positive.astype(np.float32)).resize(
        view.shape[1::-1], Image.Resampling.BILINEAR
    )
    alpha = STRONGEST * np.clip(np.asarray(grown), 0, 1)[:, :, None]
    grey = np.repeat(view.mean(axis=2, keepdims=True), 3, axis=2)
    return ((1 - alpha) * grey + alpha * HEAT).round().astype(np.uint8)
