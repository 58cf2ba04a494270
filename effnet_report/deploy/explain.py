"""Where the model looks: which parts of an image speak for a class."""

import numpy as np
import torch

from effnet_report.deploy.kept import Kept


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
