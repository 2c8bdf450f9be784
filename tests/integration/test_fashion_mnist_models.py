"""The models of ``scripts.fashion_mnist``, and how they are fitted."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from scripts.fashion_mnist.inverted import EfficientNetLite0, ImageNetLite0
from scripts.fashion_mnist.models import MODELS
from scripts.fitting import Images, Recipe, augment, fit, predict


class TestModels:
    @pytest.mark.parametrize(
        ("name", "parameters"),
        [
            ("resnet18", 11_172_810),
            ("mobilenet_v2", 2_236_106),
            ("vgg16", 15_248_202),
            ("vit", 2_684_170),
            ("efficientnet_lite0", 3_383_242),
            ("resnet18_quarter", 701_178),
        ],
    )
    def test_size_and_shape(self, name: str, parameters: int) -> None:
        model = MODELS[name]().eval()
        assert sum(each.numel() for each in model.parameters()) == parameters
        with torch.inference_mode():
            logits = model(torch.rand(2, 1, 28, 28))
        assert logits.shape == (2, 10)
        assert not torch.equal(logits[0], logits[1])

    def test_imagenet_weights_see_a_grey_image(self) -> None:
        torch.manual_seed(0)
        imagenet = ImageNetLite0().eval()
        model = EfficientNetLite0().eval()
        model.load_imagenet(imagenet.state_dict())
        model._fc = imagenet._fc
        images = torch.rand(1, 1, 28, 28)
        enlarged = torch.nn.functional.interpolate(
            images, (65, 65), mode="bilinear", align_corners=False
        )
        with torch.inference_mode():
            torch.testing.assert_close(model(images), imagenet(enlarged.expand(-1, 3, -1, -1)))

    def test_weights_of_another_model_are_refused(self) -> None:
        state = ImageNetLite0().state_dict()
        del state["_blocks.3._bn1.bias"]
        with pytest.raises(RuntimeError, match=r"_blocks\.3\._bn1\.bias"):
            EfficientNetLite0().load_imagenet(state)


def test_crops_of_one_channel_stay_within_the_padding() -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(1, 256, (1, 28, 28), generator=generator, dtype=torch.uint8)
    padded = torch.nn.functional.pad(image, (2, 2, 2, 2))
    crops = {
        padded[:, top : top + 28, left : left + 28].numpy().tobytes()
        for top in range(5)
        for left in range(5)
    }
    out = augment(image.repeat(200, 1, 1, 1), generator, flip=False, padding=2)
    assert {each.numpy().tobytes() for each in out} == crops


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_training_learns_in_bfloat16(optimizer: Literal["sgd", "adamw"]) -> None:
    seen: list[torch.dtype] = []
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(784, 10))
    model[1].register_forward_hook(lambda *call: seen.append(call[2].dtype))
    labels = torch.arange(40) % 10
    # One bright row per class.
    pixels = torch.zeros(40, 1, 28, 28, dtype=torch.uint8)
    pixels[torch.arange(40), 0, 2 * labels + 4] = 255
    images = Images(pixels, labels)
    recipe = Recipe(
        epochs=30,
        lr=0.05,
        batch_size=16,
        flip=True,
        seed=0,
        crop_padding=0,
        optimizer=optimizer,
        weight_decay=1e-4,
        label_smoothing=0.1,
        bfloat16=True,
    )
    assert fit(model, images, recipe, title="test").weight_change > 0.1
    assert set(seen) == {torch.bfloat16}
    assert {each.dtype for each in model.parameters()} == {torch.float32}
    assert torch.equal(predict(model, images, 7), labels)
