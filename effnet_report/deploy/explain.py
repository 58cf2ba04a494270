"""Where the model looks: which parts of an image speak for a class."""

import numpy as np
import torch
from PIL import Image

from effnet_report.deploy.kept import Kept

HEAT = np.array([224, 82, 6], np.float32)  # told from grey by whoever sees few colours, too
STRONGEST = 0.7  # share of the colour where the map is highest


def evidence_maps(
    kept: Kept, images: np.ndarray, indices: np.ndarray, classes: np.ndarray
) -> np.ndarray:
    """How much each place of the last feature maps adds to a class's logit.

    Features are averaged over places before the head sees them. With one linear layer a logit is
    therefore the mean of its map plus the bias, exactly (class activation maps, Zhou et al., CVPR
    2016). With a deeper head the layer is replaced by the gradient, which is Grad-CAM (Selvaraju
    et al., ICCV 2017). What all classes share tells none of them, so that the mean logit of all
    classes is subtracted.

    Args:
        images: shape (N, side, side, 3), uint8.
        indices: which of them, n.
        classes: of each, the class that is asked about, shape (n,).

    Returns:
        Shape (n, height, width), float32; negative where a place speaks against the class.
    """
    made = []
    for start, (maps, count) in enumerate(kept.last_maps(images, indices)):
        asked = torch.from_numpy(classes[start * len(maps) :][:count])
        pooled = kept.pool(maps.float()).detach().requires_grad_()
        logits = kept.head(pooled)
        rest = logits[:count].mean(dim=1)
        chosen = logits[torch.arange(count), asked.to(logits.device)]
        (slope,) = torch.autograd.grad((chosen - rest).sum(), pooled)
        made.append(torch.einsum("bc,bchw->bhw", slope, maps.float())[:count].cpu().numpy())
    return np.concatenate(made)


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
