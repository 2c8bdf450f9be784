"""Triton model repositories, their ``config.pbtxt`` read with Triton's own protobuf schema."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.plans import make_manifest, make_plan
from trtqat.engine import protobuf_text, triton
from trtqat.engine.triton import TritonOptions, check_repository, write_repository
from trtqat.engine.triton_config import config_text, find_difference
from trtqat.errors import UsageError
from trtqat.runtime.manifest import Manifest, ProfileShapes, check_plan
from trtqat.runtime.plan import read_plan
from trtqat.tensors import TensorSpec

PLAN = make_plan()
OPTIONS = TritonOptions("model")

text_format: Any = importlib.import_module("google.protobuf.text_format")


def load_schema() -> Any:
    # The file alone, because `import tritonclient.grpc` needs grpcio.
    package = importlib.util.find_spec("tritonclient")
    assert package is not None, "pip install tritonclient"
    assert package.submodule_search_locations
    path = Path(package.submodule_search_locations[0]) / "grpc" / "model_config_pb2.py"
    spec = importlib.util.spec_from_file_location("model_config_pb2", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCHEMA = load_schema()


def engine(
    inputs: list[TensorSpec], outputs: list[TensorSpec], *profiles: ProfileShapes
) -> Manifest:
    by_name = {spec.name: shapes for spec, shapes in zip(inputs, profiles, strict=True)}
    manifest = make_manifest(PLAN)
    return replace(manifest, inputs=tuple(inputs), outputs=tuple(outputs), profiles=by_name)


def batches(low: int, opt: int, high: int, *shape: int) -> ProfileShapes:
    return ProfileShapes((low, *shape), (opt, *shape), (high, *shape))


CLASSIFIER = engine(
    [TensorSpec("images", (-1, 3, 32, 32))],
    [TensorSpec("logits", (-1, 10))],
    batches(1, 32, 128, 3, 32, 32),
)


def config_of(manifest: Manifest, folder: Path, options: TritonOptions = OPTIONS) -> Any:
    model = write_repository(folder, PLAN, manifest, options)
    assert (model.path / "config.pbtxt").read_text() == model.config_text
    return text_format.Parse(model.config_text, SCHEMA.ModelConfig())


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


def tensor(kind: str, name: str, data_type: str, dims: list[int], **fields: Any) -> Any:
    types = SCHEMA.DataType.Value(data_type)
    return getattr(SCHEMA, kind)(name=name, data_type=types, dims=dims, **fields)


def warm_up(data_type: str, dims: list[int], *, is_random: bool) -> Any:
    data = {"random_data": True} if is_random else {"zero_data": True}
    return SCHEMA.ModelWarmup.Input(data_type=SCHEMA.DataType.Value(data_type), dims=dims, **data)


GPU = SCHEMA.ModelInstanceGroup.KIND_GPU


def test_classifier(tmp_path: Path) -> None:
    assert config_of(CLASSIFIER, tmp_path / "models") == SCHEMA.ModelConfig(
        name="model",
        platform="tensorrt_plan",
        max_batch_size=128,
        input=[tensor("ModelInput", "images", "TYPE_FP32", [3, 32, 32])],
        output=[tensor("ModelOutput", "logits", "TYPE_FP32", [10])],
        instance_group=[{"count": 1, "kind": GPU}],
        dynamic_batching={"preferred_batch_size": [32], "max_queue_delay_microseconds": 100},
        optimization={"cuda": {"graphs": True}},
        model_warmup=[
            {
                "name": "optimum",
                "batch_size": 32,
                "inputs": {"images": warm_up("TYPE_FP32", [3, 32, 32], is_random=True)},
            }
        ],
    )


def test_several_inputs_of_several_types(tmp_path: Path) -> None:
    manifest = engine(
        [
            TensorSpec("tokens", (-1, 128), "int64"),
            TensorSpec("mask", (-1, 128), "bool"),
            TensorSpec("image", (-1, 3, 8, 8), "float16"),
            TensorSpec("length", (-1,), "int32"),
        ],
        [TensorSpec("embedding", (-1, 64), "float16"), TensorSpec("class", (-1,), "int32")],
        batches(1, 4, 8, 128),
        batches(1, 4, 8, 128),
        batches(1, 4, 8, 3, 8, 8),
        batches(1, 4, 8),
    )
    options = TritonOptions("m", instances=3, max_queue_delay_us=2500, cuda_graph=False)
    # What has the batch as its only dimension has one number for each of it.
    number: dict[str, Any] = {"dims": [1], "reshape": SCHEMA.ModelTensorReshape(shape=[])}
    assert config_of(manifest, tmp_path, options) == SCHEMA.ModelConfig(
        name="m",
        platform="tensorrt_plan",
        max_batch_size=8,
        input=[
            tensor("ModelInput", "tokens", "TYPE_INT64", [128]),
            tensor("ModelInput", "mask", "TYPE_BOOL", [128]),
            tensor("ModelInput", "image", "TYPE_FP16", [3, 8, 8]),
            tensor("ModelInput", "length", "TYPE_INT32", **number),
        ],
        output=[
            tensor("ModelOutput", "embedding", "TYPE_FP16", [64]),
            tensor("ModelOutput", "class", "TYPE_INT32", **number),
        ],
        instance_group=[{"count": 3, "kind": GPU}],
        dynamic_batching={"preferred_batch_size": [4], "max_queue_delay_microseconds": 2500},
        model_warmup=[
            {
                "name": "optimum",
                "batch_size": 4,
                "inputs": {
                    # No random token: it could be beyond the embedding.
                    "tokens": warm_up("TYPE_INT64", [128], is_random=False),
                    "mask": warm_up("TYPE_BOOL", [128], is_random=False),
                    "image": warm_up("TYPE_FP16", [3, 8, 8], is_random=True),
                    "length": warm_up("TYPE_INT32", [1], is_random=False),
                },
            }
        ],
    )


def test_static_batch(tmp_path: Path) -> None:
    spec = TensorSpec("x", (8, 3, 4, 4))
    shapes = ProfileShapes(spec.shape, spec.shape, spec.shape)
    config = config_of(engine([spec], [TensorSpec("y", (8, 10))], shapes), tmp_path)
    assert config == SCHEMA.ModelConfig(
        name="model",
        platform="tensorrt_plan",
        max_batch_size=0,
        input=[tensor("ModelInput", "x", "TYPE_FP32", [8, 3, 4, 4])],
        output=[tensor("ModelOutput", "y", "TYPE_FP32", [8, 10])],
        instance_group=[{"count": 1, "kind": GPU}],
        model_warmup=[
            {
                "name": "optimum",
                "batch_size": 1,
                "inputs": {"x": warm_up("TYPE_FP32", [8, 3, 4, 4], is_random=True)},
            }
        ],
    )


def test_dynamic_sizes(tmp_path: Path) -> None:
    manifest = engine(
        [TensorSpec("x", (-1, 3, -1, -1))],
        [TensorSpec("mask", (-1, 21, -1, -1))],
        ProfileShapes((1, 3, 64, 64), (2, 3, 480, 640), (4, 3, 1024, 1024)),
    )
    config = config_of(manifest, tmp_path)
    assert (config.max_batch_size, list(config.input[0].dims)) == (4, [3, -1, -1])
    assert list(config.output[0].dims) == [21, -1, -1]
    (sample,) = config.model_warmup
    assert (sample.batch_size, list(sample.inputs["x"].dims)) == (2, [3, 480, 640])


@pytest.mark.parametrize(
    ("first", "output"), [((-1, 3), (10,)), ((-1, 3), (7, 10)), ((2, 3), (-1, 10))]
)
def test_no_batching_unless_every_tensor_has_a_batch(
    first: tuple[int, ...], output: tuple[int, ...], tmp_path: Path
) -> None:
    manifest = engine(
        [TensorSpec("a", first), TensorSpec("b", (-1, 4))],
        [TensorSpec("y", output)],
        ProfileShapes((2, 3), (2, 3), (2, 3)),
        batches(2, 3, 4, 4),
    )
    config = config_of(manifest, tmp_path)
    assert config.max_batch_size == 0
    assert [list(spec.dims) for spec in config.input] == [list(first), [-1, 4]]
    assert list(config.output[0].dims) == list(output)
    assert not config.HasField("dynamic_batching")
    assert not config.HasField("optimization")
    assert list(config.model_warmup[0].inputs["b"].dims) == [3, 4]


def test_what_is_off_is_not_there(tmp_path: Path) -> None:
    manifest = replace(CLASSIFIER, profiles={"images": batches(1, 1, 1, 3, 32, 32)})
    options = TritonOptions("m", cuda_graph=False, warm_up=False)
    config = config_of(manifest, tmp_path, options)
    assert config.max_batch_size == 1
    assert not config.HasField("dynamic_batching")
    assert not config.HasField("optimization")
    assert not config.model_warmup


@pytest.mark.parametrize(
    ("dtype", "name"),
    [("float64", "FP64"), ("bfloat16", "BF16"), ("int8", "INT8"), ("int16", "INT16"),
     ("uint8", "UINT8"), ("uint16", "UINT16"), ("uint32", "UINT32"), ("uint64", "UINT64")],
)  # fmt: skip
def test_further_types(dtype: str, name: str, tmp_path: Path) -> None:
    manifest = replace(CLASSIFIER, outputs=(TensorSpec("y", (-1, 2), dtype),))
    (output,) = config_of(manifest, tmp_path).output
    assert SCHEMA.DataType.Name(output.data_type) == f"TYPE_{name}"


def refused(manifest: Manifest, message: str, options: TritonOptions = OPTIONS) -> None:
    def check(folder: Path) -> None:
        spec = manifest.inputs, manifest.outputs, manifest.profiles
        with pytest.raises(UsageError, match=message):
            check_repository(folder, *spec, options)
        with pytest.raises(UsageError, match=message):
            write_repository(folder, PLAN, manifest, options)

    folder = Path.cwd() / "models"
    check(folder)
    assert not folder.exists()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("here")
def test_engines_that_triton_cannot_serve() -> None:
    images = TensorSpec("images", (-1, 3, 32, 32))
    two = engine(
        [images, TensorSpec("b", (-1, 4))],
        [TensorSpec("y", (-1, 2))],
        batches(1, 2, 4, 3, 32, 32),
        batches(1, 2, 8, 4),
    )
    refused(two, r"takes 1:2:4 for 'images' and 1:2:8 for 'b'.* as --batch 1:2:4\.")
    above_1 = replace(CLASSIFIER, profiles={"images": batches(8, 32, 64, 3, 32, 32)})
    refused(above_1, r"from 1 on, but the engine takes 8:32:64\. .*--batch 1:32:64")
    refused(
        replace(CLASSIFIER, outputs=(TensorSpec("y", (-1, 2), "float8_e4m3fn"),)),
        "'y' is of dtype float8_e4m3fn, which Triton does not have",
    )
    refused(replace(CLASSIFIER, outputs=(TensorSpec("loss", ()),)), "'loss' has no dimension")


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize(
    "name", ["", ".", "..", ".hidden", "a/b", "a\\b", "a b", "ä", "a\n", "-a", 'a"b', "a%20b"]
)
def test_names_that_clients_cannot_ask_for(name: str) -> None:
    refused(CLASSIFIER, "no name for a Triton model", TritonOptions(name))


@pytest.mark.usefixtures("here")
def test_options_out_of_range() -> None:
    refused(CLASSIFIER, "0 instances", TritonOptions("m", instances=0))
    refused(CLASSIFIER, "cannot wait for -1", TritonOptions("m", max_queue_delay_us=-1))


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=2, unique=True)
)
def test_tensor_names_arrive_as_they_are(names: list[str]) -> None:
    inputs = [TensorSpec(name, (-1, 3)) for name in names]
    profiles = {name: batches(1, 2, 4, 3) for name in names}
    text = config_text(inputs, inputs, profiles, OPTIONS)
    config = text_format.Parse(text, SCHEMA.ModelConfig())
    assert [spec.name for spec in config.input] == names
    assert [spec.name for spec in config.output] == names
    assert set(config.model_warmup[0].inputs) == set(names)
    # As a file that Triton's tools have rewritten, in either form, it is still the same model.
    for as_utf8 in (False, True):
        again = text_format.MessageToString(config, as_utf8=as_utf8)
        assert find_difference(again, text, profiles) is None
        read = protobuf_text.parse(again).messages("input")
        assert [spec.texts("name") for spec in read] == [[name] for name in names]


def test_layout_and_versions(tmp_path: Path) -> None:
    repository = tmp_path / "models"
    first = write_repository(repository, PLAN, CLASSIFIER, OPTIONS)
    assert (first.version, first.is_new) == (1, True)
    assert first.plan == repository / "model" / "1" / "model.plan"
    assert sorted(tree(repository)) == [
        "model", "model/1", "model/1/model.plan", "model/1/model.plan.json", "model/config.pbtxt",
    ]  # fmt: skip
    assert read_plan(first.plan)[0] == PLAN
    assert check_plan(PLAN, first.plan) is not None
    before = tree(repository)
    # Triton takes the number that a name begins with.
    for name in ("007", "12abc", "warmup", ".4"):
        (first.path / name).mkdir()
    (first.path / "13").touch()
    other = make_plan(body=b"other" * 9)
    second = write_repository(repository, other, CLASSIFIER, OPTIONS)
    assert (second.version, second.is_new) == (14, False)
    assert second.config_text == first.config_text
    assert second.plan.read_bytes() == other
    after = tree(repository)
    assert {path: after[path] for path in before} == before
    third = write_repository(repository, PLAN, CLASSIFIER, TritonOptions("another"))
    assert (third.version, third.path) == (1, repository / "another")


TUNED = """
# Tuned by hand.
max_batch_size: 128, version_policy < all {} >
backend: 'tensorrt'
input [ { name: 'ima' "ges" data_type: TYPE_FP32 dims: 3 dims: 0x20 dims: 32 } ]
output { name: "\\154ogits", data_type: TYPE_FP32; dims: [ 10 ] label_filename: "classes # 1" }
dynamic_batching { preferred_batch_size: [ 64, 128 ] }
instance_group: [ { count: 2 }, { count: 1 gpus: [ 0 ] } ]
parameters { key: "execution_context_allocation_strategy" value { string_value: "STATIC" } }
model_warmup { name: "w" batch_size: 1
  inputs { key: "images" value { data_type: TYPE_FP32 dims: [ 3, 32, 32 ] zero_data: true } } }
"""


def test_an_existing_config_is_kept(tmp_path: Path) -> None:
    text_format.Parse(TUNED, SCHEMA.ModelConfig())
    config = tmp_path / "model" / "config.pbtxt"
    config.parent.mkdir()
    config.write_text(TUNED)
    model = write_repository(tmp_path, PLAN, CLASSIFIER, OPTIONS)
    assert (model.version, model.is_new, model.config_text) == (1, False, TUNED)
    assert config.read_text() == TUNED


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("max_batch_size: 128", "max_batch_size: 64", "max_batch_size is 64 there and 128 here"),
        ("max_batch_size: 128,", "", "max_batch_size is 0 there"),
        ('"ges"', '"gos"', "input 'images' is none there"),
        ("dims: 0x20", "dims: 31", r"'images' is TYPE_FP32 \[3, 31, 32\] there and TYPE_FP32"),
        ("TYPE_FP32 dims: 3", "TYPE_FP16 dims: 3", "'images' is TYPE_FP16"),
        ('"\\154ogits"', '"scores"', r"output 'logits' is none there and TYPE_FP32 \[10\] here"),
        ("'tensorrt'", "'onnxruntime'", "platform is onnxruntime there and tensorrt_plan here"),
        ("[ 10 ]", "[ 10 ] reshape { shape: [ 2, 5 ] }", r"reshaped to \[2, 5\] there"),
        ("[ 3, 32, 32 ]", "[ 3, 64, 32 ]", r"warm-up of input 'images' is \[3, 64, 32\] there"),
        ("[ 3, 32, 32 ]", "[ 3, 32 ]", r"is \[3, 32\] there and \[3, 32, 32\] to \[3, 32, 32\]"),
        ("output {", 'input { name: "b" } output {', r"input 'b' is +\[\] there and none here"),
        ("# Tuned", "name: 'other' # Tuned", "name is other there and model here"),
        ("# Tuned", "default_model_filename: 'x' # Tuned", "default_model_filename is x there"),
        ("# Tuned", "name { } # Tuned", "cannot be compared .* name holds a message"),
        ("max_batch_size: 128", "max_batch_size: many", "cannot be compared .*many"),
        ("dims: 0x20", "dims 0x20", "cannot be compared .* dims has no value"),
        ("< all {} >", "< all {}", "cannot be compared"),
        ("[ 10 ]", "[ } ]", "cannot be compared .* unexpected '}'"),
        ("zero_data: true } } }", "zero_data:", "cannot be compared .* ends within a field"),
        ("# Tuned", "} # Tuned", "cannot be compared .* unexpected '}'"),
        ("# Tuned", "@ # Tuned", "cannot be compared .* unexpected '@'"),
    ],
)  # fmt: skip
def test_an_existing_config_of_another_engine_is_refused(
    old: str, new: str, message: str, tmp_path: Path
) -> None:
    assert old in TUNED
    config = tmp_path / "model" / "config.pbtxt"
    config.parent.mkdir()
    config.write_text(TUNED.replace(old, new, 1))
    before = tree(tmp_path)
    with pytest.raises(UsageError, match=message) as error:
        write_repository(tmp_path, PLAN, CLASSIFIER, OPTIONS)
    assert str(config) in error.value.problem
    assert "another --triton-name" in error.value.remedy
    assert tree(tmp_path) == before


LABELS = "".join(f"class {index}\n" for index in range(10))


@pytest.mark.parametrize(
    "content",
    [LABELS, LABELS.rstrip("\n"), LABELS.replace("\n", "\r\n"), LABELS.replace(" ", "\u2028\v")],
)
def test_labels(content: str, tmp_path: Path) -> None:
    labels = tmp_path / "imagenet names"
    labels.write_bytes(content.encode())
    outputs = (*CLASSIFIER.outputs, TensorSpec("features", (-1, 64)))
    manifest, options = replace(CLASSIFIER, outputs=outputs), TritonOptions("model", labels)
    config = config_of(manifest, tmp_path, options)
    assert [output.label_filename for output in config.output] == ["labels.txt", ""]
    copy = tmp_path / "model" / "labels.txt"
    assert copy.read_bytes() == content.replace("\r\n", "\n").encode()
    # The same labels again, and then none: the config is good for both.
    assert write_repository(tmp_path, PLAN, manifest, options).version == 2
    assert write_repository(tmp_path, PLAN, manifest, OPTIONS).version == 3


def test_labels_that_do_not_fit(here: Path) -> None:
    labels = here / "labels"
    options = TritonOptions("model", labels)
    refused(CLASSIFIER, "cannot be read: No such file", options)
    for count in (0, 9, 11):
        labels.write_text("x\n" * count)
        refused(CLASSIFIER, f"has {count} labels, but the output 'logits' has 10 classes", options)
    for shape in [(-1,), (-1, 10, -1)]:
        manifest = replace(CLASSIFIER, outputs=(TensorSpec("y", shape),))
        refused(manifest, "'y' has no fixed number of classes", options)


def test_labels_of_an_existing_model(tmp_path: Path) -> None:
    labels = tmp_path / "labels"
    labels.write_text(LABELS)
    options = TritonOptions("model", labels)
    write_repository(tmp_path / "a", PLAN, CLASSIFIER, OPTIONS)
    with pytest.raises(UsageError, match=r"labels of output 'logits' is none there and labels.txt"):
        write_repository(tmp_path / "a", PLAN, CLASSIFIER, options)
    write_repository(tmp_path / "b", PLAN, CLASSIFIER, options)
    labels.write_text(LABELS.replace("9", "nine"))
    before = tree(tmp_path)
    with pytest.raises(UsageError, match=r"labels.txt' has other labels than this build"):
        write_repository(tmp_path / "b", PLAN, CLASSIFIER, options)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("has_locks", [True, False])
def test_writers_at_once(has_locks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not has_locks:
        monkeypatch.setattr(triton, "locked", lambda _: contextlib.nullcontext())
    count = 8
    start = threading.Barrier(count)

    def write(index: int) -> tuple[int, bytes]:
        plan = make_plan(body=bytes([index]) * 10)
        start.wait()
        model = write_repository(tmp_path / "models", plan, CLASSIFIER, OPTIONS)
        return model.version, plan

    with ThreadPoolExecutor(count) as pool:
        written = dict(pool.map(write, range(count)))
    model = tmp_path / "models" / "model"
    assert sorted(written) == list(range(1, count + 1))
    for version, plan in written.items():
        assert (model / str(version) / "model.plan").read_bytes() == plan
    assert len(os.listdir(model)) == count + 1


def test_writers_of_different_engines_at_once(tmp_path: Path) -> None:
    count = 8
    start = threading.Barrier(count)

    def write(index: int) -> int | None:
        manifest = replace(CLASSIFIER, outputs=(TensorSpec("logits", (-1, 10 + index)),))
        start.wait()
        try:
            write_repository(tmp_path, PLAN, manifest, OPTIONS)
        except UsageError:
            return None
        return 10 + index

    with ThreadPoolExecutor(count) as pool:
        (classes,) = filter(None, pool.map(write, range(count)))
    config = text_format.Parse(
        (tmp_path / "model" / "config.pbtxt").read_text(), SCHEMA.ModelConfig()
    )
    assert list(config.output[0].dims) == [classes]
    assert sorted(os.listdir(tmp_path / "model")) == ["1", "config.pbtxt"]


@pytest.mark.parametrize(
    ("has_version", "step"),
    [
        *((False, step) for step in ("plan", "manifest", "labels", "config", "rename")),
        *((True, step) for step in ("plan", "manifest", "rename")),
    ],
)
def test_a_full_disk_leaves_what_was_there(
    has_version: bool, step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = tmp_path / "labels"
    labels.write_text(LABELS)
    repository, options = tmp_path / "models", TritonOptions("model", labels)
    if has_version:
        write_repository(repository, PLAN, CLASSIFIER, options)
    before = tree(tmp_path)
    left = ["plan", "manifest", "labels", "config", "rename"].index(step)
    sync, rename = os.fsync, Path.rename

    def full_sync(descriptor: int) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise OSError(28, "No space left on device")
        sync(descriptor)

    def full_rename(path: Path, target: Path) -> Path:
        if step == "rename":
            raise OSError(28, "No space left on device")
        return rename(path, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_sync)
        patch.setattr(Path, "rename", full_rename)
        with pytest.raises(UsageError, match="cannot be written: No space left on device"):
            write_repository(repository, PLAN, CLASSIFIER, options)
    assert tree(tmp_path) == before
    write_repository(repository, PLAN, CLASSIFIER, options)


def test_an_interrupt_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(path: Path, target: Path) -> Path:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_repository(tmp_path / "models", PLAN, CLASSIFIER, OPTIONS)
    assert tree(tmp_path) == {}


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "model").touch()
    (tmp_path / "other" / "model" / "config.pbtxt").mkdir(parents=True)
    before = tree(tmp_path)
    for place, message in [
        ("file", "Not a directory"),
        ("missing/models", "missing' does not exist"),
        ("models", "Not a directory"),
        ("other", "config.pbtxt' is a directory"),
    ]:
        with pytest.raises(UsageError, match=message):
            write_repository(tmp_path / place, PLAN, CLASSIFIER, OPTIONS)
    assert tree(tmp_path) == before


def test_a_check_writes_nothing(tmp_path: Path) -> None:
    spec = CLASSIFIER.inputs, CLASSIFIER.outputs, CLASSIFIER.profiles
    check_repository(tmp_path / "models", *spec, OPTIONS)
    assert tree(tmp_path) == {}
    write_repository(tmp_path / "models", PLAN, CLASSIFIER, OPTIONS)
    before = tree(tmp_path)
    check_repository(tmp_path / "models", *spec, OPTIONS)
    assert tree(tmp_path) == before
