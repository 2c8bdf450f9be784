"""The made scenes, and what the models of the tasks are trained towards."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from scripts.tasks import detection, recognition, segmentation, shapes
from scripts.tasks.fitting import fit
from scripts.tasks.shapes import KINDS, SIZE, Scenes, draw
from trtqat.errors import MissingError, TrtqatError


@pytest.fixture(autouse=True)
def _stripes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whether or not Fashion-MNIST is here."""
    monkeypatch.setenv("FASHION_MNIST", str(tmp_path / "nowhere"))
    shapes._photographs.cache_clear()


def test_a_scene_is_made_of_its_number_alone() -> None:
    for number in range(20):
        one, again, other = draw(number), draw(number), draw(number + 1)
        assert np.array_equal(one.image, again.image)
        assert not np.array_equal(one.image, other.image)
        assert one.image.dtype == np.float32
        assert 0 <= one.image.min() <= one.image.max() <= 1


def test_masks_and_boxes_are_of_the_same_shapes() -> None:
    seen = set()
    for number in range(60):
        scene = draw(number)
        assert 1 <= len(scene.boxes) == len(scene.classes)
        assert set(np.unique(scene.mask)) - {0} <= set(scene.classes + 1)
        for (left, top, right, bottom), kind in zip(scene.boxes, scene.classes, strict=True):
            assert 0 <= left < right <= SIZE
            assert 0 <= top < bottom <= SIZE
            inside = scene.mask[int(top) : int(bottom), int(left) : int(right)]
            # A later one may hide a tenth of it.
            assert np.count_nonzero(inside == kind + 1) > 0.2 * inside.size
            seen.add(int(kind))
        outside = scene.mask.copy()
        for left, top, right, bottom in scene.boxes.astype(int):
            outside[top:bottom, left:right] = 0
        assert not outside.any()
    assert seen == set(range(len(KINDS)))


def test_no_test_scene_is_a_training_scene() -> None:
    training, test = Scenes(30), Scenes(30, is_test=True)
    drawn = {training[index].image.tobytes() for index in range(30)}
    assert not any(test[index].image.tobytes() in drawn for index in range(30))
    with pytest.raises(IndexError):
        test[30]


def test_batches_have_masks_and_boxes() -> None:
    masks = segmentation.test_data().batch(3, 7)
    boxes = detection.test_data().batch(3, 7)
    assert masks.inputs["images"].shape == (4, 3, SIZE, SIZE)
    assert np.array_equal(masks.inputs["images"], boxes.inputs["images"])
    assert masks.labels is not None
    assert boxes.labels is not None
    assert np.shape(masks.labels) == (4, SIZE, SIZE)
    assert [len(each["boxes"]) > 0 for each in boxes.labels] == [True] * 4


def test_lines_of_text_are_drawn_as_the_recognizer_takes_them() -> None:
    lines, others = recognition.test_data(), recognition.training_data()
    batch, again = lines.batch(0, 20), lines.batch(0, 20)
    images = batch.inputs[recognition.INPUT]
    assert images.shape == (20, 3, recognition.HEIGHT, recognition.WIDTH)
    assert images.dtype == np.float32
    assert -1 <= images.min() < images.max() <= 1
    assert np.array_equal(images, again.inputs[recognition.INPUT])
    assert batch.labels == again.labels
    assert batch.labels is not None
    assert all(1 <= len(text.split()) <= 3 for text in batch.labels)
    assert set(batch.labels) != set(others.batch(0, 20).labels or ())


def test_a_host_without_the_recognizer_is_told_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match="not here") as raised:
        recognition.copy_model(tmp_path)
    assert "rapidocr" in raised.value.remedy
    assert recognition.main(["--output", str(tmp_path)]) == MissingError.exit_code
    assert capsys.readouterr().err == f"Error: {raised.value}\n"
    assert list(tmp_path.iterdir()) == []


class Perfect(nn.Module):
    """Heads that say what training tells them to."""

    def __init__(self, scenes: list[shapes.Scene]) -> None:
        super().__init__()
        heat, sides, _ = map(torch.stack, zip(*map(detection.targets, scenes), strict=True))
        self.logits, self.sides = torch.logit(heat.clamp(1e-6, 1 - 1e-6)), sides

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.logits, self.sides


def test_a_detector_that_has_learned_everything_finds_every_box() -> None:
    scenes = [draw(number) for number in range(40)]
    model = detection.Detector().eval()
    model.heads = Perfect(scenes)  # type: ignore[assignment]
    found = model(torch.zeros(40, 3, SIZE, SIZE))
    assert found["boxes"].shape == (40, detection.BOXES, 4)
    missed = total = 0
    for index, scene in enumerate(scenes):
        sure = found["scores"][index] > 0.99
        boxes, classes = found["boxes"][index][sure], found["classes"][index][sure]
        for box, kind in zip(scene.boxes, scene.classes, strict=True):
            far = (boxes - torch.from_numpy(box).float()).abs().amax(dim=1)
            total += 1
            missed += not bool(((far < 0.01) & (classes == kind)).any())
    # Two of one kind may have their centres in neighbouring cells.
    assert total > 80
    assert missed <= 0.02 * total


@pytest.mark.parametrize("task", [segmentation, detection])
def test_training_lowers_the_loss_and_keeps_the_model(
    task: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "new" / "model.pt"
    task.train(path, 64, 2)  # type: ignore[attr-defined]
    losses = [
        float(line.split("loss ")[1].split(",")[0]) for line in capsys.readouterr().err.splitlines()
    ]
    assert losses[-1] < losses[0]
    model = task.fp32()  # type: ignore[attr-defined]
    model.load_state_dict(torch.load(path))


def test_a_loss_that_is_no_number_ends_training() -> None:
    model = nn.Linear(1, 1)
    with pytest.raises(TrtqatError, match="it diverged: its loss is nan"):
        fit(
            model,
            lambda epoch: iter([(torch.ones(1, 1), None)]),
            lambda found, _: found.sum() * float("nan"),  # type: ignore[attr-defined]
            epochs=1,
            steps=1,
            lr=0.1,
            title="it",
        )
