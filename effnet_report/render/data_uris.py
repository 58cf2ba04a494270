"""Files as addresses of themselves, for pages that have to be whole wherever they are opened."""

import base64
import io

import numpy as np
from PIL import Image


def data_uri(kind: str, content: bytes) -> str:
    """A file as a data URI.

    Args:
        kind: its media type, such as `image/jpeg`.
        content: what is in it.
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def jpeg(image: np.ndarray) -> str:
    """An image, shape (height, width, 3) and uint8, as the data URI of a JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=80)
    return data_uri("image/jpeg", buffer.getvalue())
