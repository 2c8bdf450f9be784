from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.building.options import parse_bytes
from trtqat.building.profiles import ProfileOptions, parse_batch, parse_shapes, resolve_profile
from trtqat.errors import UsageError
from trtqat.plan.manifest import ProfileShapes
from trtqat.tensors import TensorSpec

IMAGE = TensorSpec("image", (-1, 3, 8, 8))
MASK = TensorSpec("mask", (-1, 8))
FIXED = TensorSpec("fixed", (4, 8))
TEXT = TensorSpec("text", (-1, -1))


@pytest.mark.parametrize(
    ("text", "batch"), [("1:32:128", (1, 32, 128)), ("8", (8, 8, 8)), ("2:2:2", (2, 2, 2))]
)
def test_batch(text: str, batch: tuple[int, int, int]) -> None:
    assert parse_batch(text) == batch


@pytest.mark.parametrize(
    "text", ["", "x", "0", "-1", "0:1:2", "1:2", "1:2:3:4", "3:2:1", "1:4:2", "1.5", "1::2"]
)
def test_wrong_batch(text: str) -> None:
    with pytest.raises(UsageError, match="no batch range"):
        parse_batch(text)


def test_shapes() -> None:
    assert parse_shapes("x:1x3x224x224,model/in:0:1x10,n:4") == {
        "x": (1, 3, 224, 224),
        "model/in:0": (1, 10),
        "n": (4,),
    }
    assert parse_shapes("") == {}


@pytest.mark.parametrize("text", ["x", "x:", ":1x3", "x:1x", "x:1x-3", "x:axb", "x:1x3,y"])
def test_wrong_shapes(text: str) -> None:
    with pytest.raises(UsageError, match="is no shape"):
        parse_shapes(text)


def test_default_is_1_32_32_and_fixed_inputs_keep_their_shape() -> None:
    assert resolve_profile([IMAGE, MASK, FIXED], ProfileOptions()) == {
        "image": ProfileShapes((1, 3, 8, 8), (32, 3, 8, 8), (32, 3, 8, 8)),
        "mask": ProfileShapes((1, 8), (32, 8), (32, 8)),
        "fixed": ProfileShapes((4, 8), (4, 8), (4, 8)),
    }


@given(st.lists(st.integers(1, 4096), min_size=3, max_size=3).map(sorted))
def test_an_ascending_batch_comes_back(batch: list[int]) -> None:
    low, opt, high = batch
    profile = resolve_profile([IMAGE, MASK], ProfileOptions(batch=(low, opt, high)))
    for spec in (IMAGE, MASK):
        rest = spec.shape[1:]
        assert profile[spec.name] == ProfileShapes((low, *rest), (opt, *rest), (high, *rest))


@given(st.lists(st.integers(1, 64), min_size=3, max_size=3).filter(lambda b: sorted(b) != b))
def test_a_batch_that_does_not_ascend_is_refused(batch: list[int]) -> None:
    with pytest.raises(UsageError, match="do not ascend"):
        resolve_profile([IMAGE], ProfileOptions(batch=(batch[0], batch[1], batch[2])))


def test_the_optimum_stands_for_missing_shapes() -> None:
    only_opt = ProfileOptions(opt_shapes={"text": (4, 16)})
    assert resolve_profile([TEXT], only_opt)["text"] == ProfileShapes((4, 16), (4, 16), (4, 16))
    with_max = ProfileOptions(opt_shapes={"text": (4, 16)}, max_shapes={"text": (8, 32)})
    assert resolve_profile([TEXT], with_max)["text"] == ProfileShapes((4, 16), (4, 16), (8, 32))


def test_shapes_for_one_input_and_a_batch_for_the_others() -> None:
    options = ProfileOptions(batch=(1, 2, 4), opt_shapes={"text": (2, 7)})
    assert resolve_profile([IMAGE, TEXT], options) == {
        "image": ProfileShapes((1, 3, 8, 8), (2, 3, 8, 8), (4, 3, 8, 8)),
        "text": ProfileShapes((2, 7), (2, 7), (2, 7)),
    }


@pytest.mark.parametrize("which", ["min", "opt", "max"])
def test_unknown_input(which: str) -> None:
    options = ProfileOptions(**{f"{which}_shapes": {"imaeg": (1, 3, 8, 8)}})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=rf"--{which}-shapes names 'imaeg'.*image"):
        resolve_profile([IMAGE], options)


@pytest.mark.parametrize("shape", [(1, 3, 8), (1, 1, 8, 8), (1, 3, 8, 8, 1)])
def test_shape_that_does_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"does not fit input 'image', which has \?x3x8x8"):
        resolve_profile([IMAGE], ProfileOptions(opt_shapes={"image": shape}))


@pytest.mark.parametrize(
    ("low", "high"), [((4, 16), (2, 32)), ((4, 64), (8, 32))], ids=["first", "second"]
)
def test_every_dimension_must_ascend(low: tuple[int, ...], high: tuple[int, ...]) -> None:
    options = ProfileOptions(min_shapes={"text": low}, opt_shapes={"text": low})
    with pytest.raises(UsageError, match="do not ascend"):
        resolve_profile(
            [TEXT], ProfileOptions(None, options.min_shapes, options.opt_shapes, {"text": high})
        )


def test_open_dimensions_besides_the_batch() -> None:
    with pytest.raises(UsageError, match=r"besides the batch: \?x\?"):
        resolve_profile([TEXT], ProfileOptions(batch=(1, 2, 4)))


def test_fixed_batch() -> None:
    assert resolve_profile([FIXED], ProfileOptions(batch=(4, 4, 4)))["fixed"].max == (4, 8)
    with pytest.raises(UsageError, match="fixed batch of 4, not 1"):
        resolve_profile([FIXED], ProfileOptions(batch=(1, 4, 4)))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GiB", 4 * 2**30),
        ("512MiB", 2**29),
        ("2G", 2**31),
        ("1.5k", 1536),
        (" 3 mb ", 3 * 2**20),
        ("4096", 4096),
        ("7B", 7),
    ],
)
def test_bytes(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1G", "4T", "GiB", "1e9", "4 iB", "0.2", "4GiBs"])
def test_wrong_bytes(text: str) -> None:
    with pytest.raises(UsageError, match="no amount of memory"):
        parse_bytes(text)
