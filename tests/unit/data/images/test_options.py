from __future__ import annotations

from typing import Any

import pytest

from trtqat.data.images.options import ImageOptions, parse_image_spec
from trtqat.errors import UsageError


def test_a_folder_alone() -> None:
    spec = parse_image_spec("val/a b")
    assert (spec.directory, spec.options) == ("val/a b", ImageOptions())


def test_everything() -> None:
    spec = parse_image_spec(
        "val,resize=256,crop=192x224,interpolation=bicubic,bgr,scale=1,mean=0.485,0.456,0.406,"
        "std=0.229,0.224,0.225,as-stored,skip-broken"
    )
    assert spec.directory == "val"
    assert spec.options == ImageOptions(
        resize=256,
        crop=(192, 224),
        interpolation="bicubic",
        bgr=True,
        scale=1.0,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        as_stored=True,
        skip_broken=True,
    )


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("resize=480x640", "resize", (480, 640)),
        ("crop=224", "crop", (224, 224)),
        ("letterbox=384x640,fill=0", "letterbox", (384, 640)),
        ("mean=0.5", "mean", (0.5,)),
    ],
)
def test_one(text: str, field: str, value: Any) -> None:
    assert getattr(parse_image_spec(f"val,{text}").options, field) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("resise=256", "'resise=256', which is no option"),
        ("256", "'256', which is no option"),
        ("bgr,0.5", "'0.5', which is no option"),
        ("bgr=1", "'bgr=1', which is no option"),
        ("resize", "'resize', which is no option"),
        ("resize=big", "gives resize as 'big'"),
        ("resize=8,crop=16,fill=255", "says 'fill', but no image is put into a letterbox"),
        ("crop=16,interpolation=nearest", "says 'interpolation', but no image is resized"),
        ("resize=2x3x4", "gives resize as '2x3x4'"),
        ("mean=0.1,red", "gives mean as '0.1,red'"),
        ("crop=48,skipbroken", "'skipbroken', which is no option"),
        ("resize=256,0.5", "'0.5', which is no option"),
        ("crop=1,crop=2", "says 'crop' twice"),
        ("crop=0", "crop is 0"),
        ("resize=-1", "resize is -1"),
        ("fill=256", "fill is 256"),
        ("interpolation=area", "interpolation is 'area'"),
        ("mean=1,2", "mean is"),
        ("mean=nan", "mean is nan"),
        ("std=0", "std is 0.0"),
        ("scale=0", "scale is 0.0"),
        ("letterbox=8,crop=8", "either put into a letterbox"),
    ],
)
def test_what_is_no_option(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as raised:
        parse_image_spec(f"val,{text}")
    assert raised.value.remedy
