from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trtqat.building.parsing import parse_profiles
from trtqat.building.profiles import ProfileOptions, resolve_profile, resolve_profiles
from trtqat.errors import UsageError
from trtqat.plan.manifest import ProfileShapes
from trtqat.plan.profiles import batches_of
from trtqat.tensors import TensorSpec

IMAGE = TensorSpec("image", (-1, 3, 8, 8))
MASK = TensorSpec("mask", (-1, 8))
FIXED = TensorSpec("fixed", (4, 8))
TEXT = TensorSpec("text", (-1, -1))
LINES = TensorSpec("lines", (-1, 3, 48, -1))


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


@pytest.mark.parametrize("largest", [11184811, 2**31, 2**33, 3 * 10**9, 10**20])
def test_an_input_that_no_tensor_holds_is_refused(largest: int) -> None:
    """TensorRT for RTX crashed, built a profile that it warned of, or raised a RuntimeError."""
    with pytest.raises(UsageError, match=rf"Input 'image' would hold {192 * largest} numbers"):
        resolve_profile([IMAGE], ProfileOptions(batch=(1, 1, largest)))
    resolve_profile([IMAGE], ProfileOptions(batch=(1, 1, 11184810)))


def test_a_table_of_fixed_size_has_no_say_in_which_profile_is_narrower() -> None:
    table = TensorSpec("anchors", (100, 4))
    for shapes in (("1:8:32", "32"), ("32", "1:8:32")):
        found = resolve_profiles([IMAGE, table], sized(*(f"image:{each}x3x8x8" for each in shapes)))
        assert [each["image"].min[0] for each in found] == [32, 1]


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


def several(*batches: tuple[int, int, int]) -> ProfileOptions:
    first, *more = (ProfileOptions(batch=each) for each in batches)
    return replace(first, more=tuple(more))


def test_several_profiles_are_for_every_input() -> None:
    one, two = resolve_profiles([IMAGE, MASK], several((1, 1, 1), (8, 8, 8)))
    assert one == {
        "image": ProfileShapes(*[(1, 3, 8, 8)] * 3),
        "mask": ProfileShapes(*[(1, 8)] * 3),
    }
    assert two == {
        "image": ProfileShapes(*[(8, 3, 8, 8)] * 3),
        "mask": ProfileShapes(*[(8, 8)] * 3),
    }


def test_the_narrowest_is_first_and_all_else_as_it_was_said() -> None:
    made = resolve_profiles([MASK], several((1, 32, 128), (32, 32, 32), (1, 8, 16), (1, 1, 1)))
    assert [str(batches_of(each)) for each in made] == [
        "32:32:32",
        "1:1:1",
        "1:8:16",
        "1:32:128",
    ]
    # One is one, as it ever was.
    assert resolve_profiles([MASK], ProfileOptions()) == (
        resolve_profile([MASK], ProfileOptions()),
    )


def test_profiles_that_there_cannot_be() -> None:
    with pytest.raises(UsageError, match="Two profiles are the same: 8"):
        resolve_profiles([IMAGE], several((8, 8, 8), (1, 8, 8), (8, 8, 8)))
    with pytest.raises(UsageError, match=r"besides the batch: \?x\?.* Give --batch one range"):
        resolve_profiles([TEXT], several((1, 1, 1), (8, 8, 8)))
    with pytest.raises(UsageError, match="fixed batch of 4, not 8"):
        resolve_profiles([FIXED], several((4, 4, 4), (8, 8, 8)))


def sized(*shapes: str, batch: str | None = None) -> ProfileOptions:
    return parse_profiles(batch, {}, list(shapes))


def test_each_shape_is_a_profile_and_the_narrowest_is_first() -> None:
    made = resolve_profiles(
        [LINES],
        sized("lines:1:8:32x3x48x32:320:640", "lines:1:8:32x3x48x160", "lines:8x3x48x640"),
    )
    assert [each["lines"] for each in made] == [
        ProfileShapes(*[(8, 3, 48, 640)] * 3),
        ProfileShapes((1, 3, 48, 160), (8, 3, 48, 160), (32, 3, 48, 160)),
        ProfileShapes((1, 3, 48, 32), (8, 3, 48, 320), (32, 3, 48, 640)),
    ]


def test_inputs_that_a_shape_does_not_name_have_its_batch() -> None:
    options = sized("lines:1:8:32x3x48x160", "lines:4x3x48x320")
    four, many = resolve_profiles([LINES, MASK], options)
    assert many["mask"] == ProfileShapes((1, 8), (8, 8), (32, 8))
    assert four["mask"] == ProfileShapes(*[(4, 8)] * 3)
    for each in resolve_profiles([LINES, FIXED], options):
        assert each["fixed"] == ProfileShapes(*[(4, 8)] * 3)
    (told,) = resolve_profiles([LINES, MASK], sized("lines:1:8:32x3x48x160", batch="1:2:4"))
    assert told["mask"] == ProfileShapes((1, 8), (2, 8), (4, 8))


def test_a_batch_of_no_input_is_refused() -> None:
    """It would be left out without a word."""
    whole = sized("lines:1:8:32x3x48x160,mask:1:8:32x8", batch="1:2:4")
    by_bounds = ProfileOptions((1, 2, 4), opt_shapes={"lines": (2, 3, 48, 160), "mask": (2, 8)})
    for options in (whole, by_bounds):
        with pytest.raises(UsageError, match=r"--batch says nothing here.* Leave out --batch"):
            resolve_profiles([LINES, MASK], options)
        # It is for an input that has no shapes.
        assert resolve_profiles([LINES, MASK, IMAGE], options)[0]["image"].max == (4, 3, 8, 8)


def test_shapes_that_there_cannot_be() -> None:
    twice = sized("lines:8x3x48x160", "lines:8:8:8x3x48x160")
    with pytest.raises(UsageError, match=r"are the same: lines:8x3x48x160\..*by --shapes once"):
        resolve_profiles([LINES], twice)
    with pytest.raises(UsageError, match="--shapes names 'liens', which is no input"):
        resolve_profiles([LINES], sized("liens:8x3x48x160"))
    with pytest.raises(UsageError, match=r"The shape 8x1x48x160 does not fit input 'lines'"):
        resolve_profiles([LINES], sized("lines:8x1x48x160"))
    # What is open needs to be said, and an example says how.
    with pytest.raises(UsageError, match=r"Give --shapes lines:1:32:32x3x48x640 for it"):
        resolve_profiles([LINES], ProfileOptions())
