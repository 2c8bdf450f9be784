"""What training loops save, loaded into the model that it was: exactly, or with a sentence."""

from __future__ import annotations

import copy
import struct
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim.swa_utils import AveragedModel

import trtqat
from tests.support.checkpoints import Net, Versioned, qat
from tests.support.commands import in_process
from tests.support.measured import NumpyModel
from trtqat.errors import SourceError, UsageError
from trtqat.evaluation.open_pytorch import open_pytorch
from trtqat.exporting.state_dicts import Wanted, find_state_dicts

State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def trained() -> Net:
    return qat(1)


def prefixed(state: State, prefix: str) -> State:
    return {prefix + key: value for key, value in state.items()}


def assert_loads(saved: object, state: State, folder: Path, **options: Any) -> None:
    """The file makes any of three models the one that was saved, bit for bit."""
    path = folder / "saved.pt"
    torch.save(saved, path)
    for model in (qat(2), qat(2, calibrated=False)):
        trtqat.load_state(model, str(path), **options)
        loaded = model.state_dict()
        assert loaded.keys() == state.keys()
        assert all(torch.equal(loaded[key], state[key]) for key in state)


def refusal(saved: object, folder: Path, model: nn.Module | None = None, **options: Any) -> str:
    path = folder / "saved.pt"
    if isinstance(saved, bytes):
        path.write_bytes(saved)
    else:
        torch.save(saved, path)
    with pytest.raises(SourceError) as caught:
        trtqat.load_state(model or qat(2), path, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda s: s,
        lambda s: prefixed(s, "_orig_mod.module."),
        lambda s: prefixed(s, "module._orig_mod."),
        lambda s: {"state_dict": prefixed(s, "model."), "optimizer_states": [{"state": {0: {}}}]},
        lambda s: {"net": s, "acc": 0.9},
        lambda s: {"a": [{"b": (prefixed(s, "student.backbone."), 3)}]},
        lambda s: prefixed(s, "x.y.z."),
        lambda s: {"model": s, "optimizer": {"exp_avg": s, "exp_avg_sq": s}},
        lambda s: {key.replace("conv.", "conv.module."): value for key, value in s.items()},
        lambda s: {"model": s, "model_state_dict": {k: v.clone() for k, v in s.items()}},
    ],
)
def test_wrappers_are_undone(wrap: Any, trained: Net, tmp_path: Path) -> None:
    state = trained.state_dict()
    assert_loads(wrap(state), state, tmp_path)


def test_averaged_model(trained: Net, tmp_path: Path) -> None:
    saved = AveragedModel(trained).state_dict()
    assert_loads(saved, trained.state_dict(), tmp_path)
    assert_loads(saved, trained.state_dict(), tmp_path, ema=True)
    assert "averaged weights only" in refusal(saved, tmp_path, ema=False)


def test_a_model_that_was_made_in_inference_mode(tmp_path: Path) -> None:
    def made() -> nn.Module:
        with torch.inference_mode():
            return nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)).eval()

    x = torch.randn(8, 4)
    quantized = trtqat.quantize(made(), [x])
    quantized.save(tmp_path / "int8.pt")
    loaded = made()
    trtqat.load_state(loaded, tmp_path / "int8.pt")
    with torch.no_grad():
        assert torch.equal(loaded(x), quantized.model(x))


def test_a_wrapped_model_takes_a_plain_checkpoint(trained: Net, tmp_path: Path) -> None:
    path = tmp_path / "plain.pt"
    torch.save(trained.state_dict(), path)
    model = nn.Sequential()
    model.add_module("inner", qat(2))
    trtqat.load_state(model, path)
    assert torch.equal(model.get_parameter("inner.fc.weight"), trained.fc.weight)


NAMES = st.text("abmodule_.", min_size=1, max_size=8).map(lambda text: text.strip(".") or "a")


@given(
    keys=st.sets(st.lists(NAMES, min_size=1, max_size=3).map(".".join), min_size=1, max_size=6),
    stack=st.lists(
        st.tuples(
            st.sampled_from(["nest", "prefix", "list"]),
            st.sampled_from(
                ["module", "_orig_mod", "model", "network", "state_dict", "student.net"]
            ),
        ),
        max_size=5,
    ),
)
def test_any_stack_is_undone(keys: set[str], stack: list[tuple[str, str]]) -> None:
    """By the keys alone: whatever was put around them, and whatever they are called."""
    state = {key: torch.full((), float(number)) for number, key in enumerate(sorted(keys))}
    saved: Any = dict(state)
    inner = [name for kind, name in stack if kind == "prefix"]
    saved = prefixed(saved, "".join(f"{name}." for name in reversed(inner)))
    for kind, name in stack:
        if kind != "prefix":
            saved = {name: saved, "epoch": 3} if kind == "nest" else [saved, {"lr": 0.1}]
    found = find_state_dicts(saved, Wanted({key: torch.Size(()) for key in state}))
    assert [dict(each.state) for each in found.fitting] == [state]
    assert found.fitting[0].left_out == ()


@pytest.mark.parametrize(
    "layout",
    [
        lambda raw, ema: {"state_dict": raw, "state_dict_ema": ema},
        lambda raw, ema: {"model": raw, "model_ema": {**prefixed(ema, "module."), "n_averaged": 1}},
        lambda raw, ema: {"model": raw, "ema_state_dict": prefixed(ema, "_orig_mod.")},
        lambda raw, ema: {"net": raw, "ema": {"decay": 0.9, "shadow": ema}},
        lambda raw, ema: prefixed(raw, "model.") | prefixed(ema, "ema_model."),
        lambda raw, ema: {"model": raw, "callbacks": {"EMACallback": {"weights": ema}}},
        lambda raw, ema: {"current_model_state": raw, "state_dict": ema, "averaging_state": {}},
        lambda raw, ema: {"G": raw, "netEMA": ema},
    ],
)
def test_averages_beside_raw_weights_want_a_choice(
    layout: Any, trained: Net, tmp_path: Path
) -> None:
    ema, raw = trained.state_dict(), qat(3).state_dict()
    saved = layout(raw, ema)
    said = refusal(saved, tmp_path)
    assert "averaged weights (EMA) beside raw ones" in said
    assert "--ema or --no-ema" in said
    assert_loads(saved, ema, tmp_path, ema=True)
    assert_loads(saved, raw, tmp_path, ema=False)


def test_averages_that_have_no_names(trained: Net, tmp_path: Path) -> None:
    state = trained.state_dict()
    saved = {"model": state, "ema": {"shadow_params": list(trained.parameters())}}
    assert "beside raw ones" in refusal(saved, tmp_path)
    assert "not under the names" in refusal(saved, tmp_path, ema=True)
    assert_loads(saved, state, tmp_path, ema=False)


def test_a_choice_that_the_file_does_not_leave(trained: Net, tmp_path: Path) -> None:
    assert "holds no averaged weights" in refusal(trained.state_dict(), tmp_path, ema=True)
    assert_loads({"model": trained.state_dict(), "ema": None}, trained.state_dict(), tmp_path)
    with pytest.raises(UsageError, match="belongs to a checkpoint"):
        trtqat.ModelSource("net.py:qat", ema=True)


def test_two_states_are_no_choice_of_ours(trained: Net, tmp_path: Path) -> None:
    said = refusal({"best": trained.state_dict(), "last": qat(3).state_dict()}, tmp_path)
    assert "2 different states of the model: ['best']; ['last']" in said


def test_what_is_left_out_is_told(
    trained: Net, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    state = trained.state_dict()
    saved = prefixed(state, "model.") | {"loss.weight": torch.ones(2)}
    assert_loads(saved, state, tmp_path)
    assert "1 tensors besides the keys behind 'model.' are left out: loss.weight" in caplog.text


def test_narrow_tensors_are_told(
    trained: Net, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Counters included, as .half() over a whole state dict leaves them."""
    half = {key: value.half() for key, value in trained.state_dict().items()}
    assert_loads(half, {k: half[k].to(v.dtype) for k, v in trained.state_dict().items()}, tmp_path)
    assert "stored in float16" in caplog.text


def changed(state: State, key: str, value: torch.Tensor) -> State:
    return {**state, key: value}


def test_tensors_that_are_no_weights(trained: Net, tmp_path: Path) -> None:
    state, key = trained.state_dict(), "fc.weight"
    weight = state[key]
    for value, said in (
        (weight.to(torch.int32), "of int32 where the model has float32"),
        (weight.to(torch.complex64), "complex"),
        (weight.to_sparse(), "sparse"),
        (weight.to("meta"), "meta"),
        (torch.full_like(weight, float("nan")), "not finite"),
        (torch.full_like(weight, float("inf")), "not finite"),
    ):
        assert f"Tensor '{key}'" in refusal(changed(state, key, value), tmp_path)
        assert said in refusal(changed(state, key, value), tmp_path)
    variance = torch.full((4,), float("nan"))
    assert "'norm.running_var'" in refusal(changed(state, "norm.running_var", variance), tmp_path)


def damaged(state: State, folder: Path) -> bytes:
    torch.save(state, folder / "whole.pt")
    return (folder / "whole.pt").read_bytes()[:900]


def test_files_that_are_none(trained: Net, tmp_path: Path) -> None:
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    itself: dict[str, Any] = {}
    itself["x"] = itself
    for saved, said in (
        (b"", "is empty"),
        (b"hello world" * 9, "no PyTorch file, or is damaged"),
        (damaged(trained.state_dict(), tmp_path), "damaged"),
        (struct.pack("<Q", len(header)) + header + bytes(4), "safetensors"),
        ({1: torch.zeros(1)}, "no mapping in it has tensors by name"),
        ({("a", "b"): torch.zeros(1)}, "no mapping in it has tensors by name"),
        (itself, "no mapping in it has tensors by name"),
        ({"args": Namespace(lr=1)}, "'argparse.Namespace'"),
        (torch.zeros(2), "holds no state dict"),
    ):
        assert said in refusal(saved, tmp_path)
    with pytest.raises(SourceError, match="no checkpoint"):
        trtqat.load_state(trained, tmp_path / "none.pt")
    with pytest.raises(UsageError, match="The path of a checkpoint is 3"):
        trtqat.load_state(trained, 3)  # type: ignore[arg-type]


def test_remedies_say_what_is_the_matter(trained: Net, tmp_path: Path) -> None:
    state = trained.state_dict()
    said = refusal(state, tmp_path, Net())
    assert "no quantizers: insert them in the factory" in said
    said = refusal(qat(1, calibrated=False).state_dict(), tmp_path)
    assert "before the quantizers had ranges" in said
    said = refusal(prefixed(changed(state, "fc.bias", torch.ones(5)), "module."), tmp_path)
    assert "with 'module.' taken off its keys (other shape: fc.bias (5,) for (2,))" in said
    assert "inserts the quantizers" not in said
    said = refusal({"head.a": torch.ones(1)}, tmp_path)
    assert "no name in common with the model: head.a for conv.weight" in said


def test_plain_loading_works_without_a_gpu(
    trained: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The toolkit's own creates a missing amax with .cuda()."""
    monkeypatch.setattr(torch.Tensor, "cuda", lambda self: pytest.fail("there is no GPU"))
    path, state = tmp_path / "qat.pt", trained.state_dict()
    torch.save(state, path)
    for fresh in (qat(2, calibrated=False), copy.deepcopy(qat(2, calibrated=False))):
        fresh.load_state_dict(torch.load(path))
        assert all(torch.equal(value, state[key]) for key, value in fresh.state_dict().items())
    outer, inner = nn.Sequential(qat(2, calibrated=False)), qat(2, calibrated=False)
    outer.load_state_dict(prefixed(state, "0."))
    inner.conv.load_state_dict(trained.conv.state_dict())
    assert torch.equal(inner.conv.weight, trained.conv.weight)


def test_eval_opens_the_averages_that_it_is_told_to(trained: Net, tmp_path: Path) -> None:
    torch.save(
        {"model": qat(3).state_dict(), "model_ema": trained.state_dict()}, tmp_path / "both.pt"
    )
    factory = tmp_path / "net.py"
    factory.write_text(
        "from tests.support.checkpoints import qat as make\ndef qat():\n    return make(2)\n"
    )
    graph = NumpyModel()
    graph.inputs = (trtqat.TensorSpec("x", (1, 3, 8, 8)),)
    batch = {"x": torch.ones(1, 3, 8, 8).numpy()}
    for ema, expected in ((True, trained), (False, qat(3))):
        source = trtqat.ModelSource(f"{factory}:qat", tmp_path / "both.pt", ema=ema)
        assert source is not None
        for has_quantizers in (True, False):
            opened = open_pytorch(source, graph, has_quantizers=has_quantizers)
            output = opened.session(1).run(batch)["output"]
            assert (output == expected(torch.ones(1, 3, 8, 8)).detach().numpy()).all()
    with pytest.raises(SourceError, match="--no-fake-quantized-ema"):
        open_pytorch(trtqat.ModelSource(f"{factory}:qat", str(tmp_path / "both.pt")), graph)


def test_a_choice_belongs_to_a_checkpoint(tmp_path: Path) -> None:
    for option, of in (
        (("--baseline", "f.py:f", "--ema"), "--ema belongs to --checkpoint"),
        (
            ("--fake-quantized", "f.py:f", "--no-fake-quantized-ema"),
            "--fake-quantized-ema belongs to --fake-quantized-checkpoint",
        ),
    ):
        done = in_process(tmp_path, "eval", "m.onnx", "--data", "random", *option)
        assert (done.returncode, done.stdout) == (2, "")
        assert of in done.stderr


def test_source_takes_strings_and_paths(trained: Net, tmp_path: Path) -> None:
    torch.save(trained.state_dict(), tmp_path / "qat.pt")
    factory = tmp_path / "net.py"
    factory.write_text(
        "from tests.support.checkpoints import qat as make\ndef qat():\n    return make(2)\n"
    )
    for checkpoint in (tmp_path / "qat.pt", str(tmp_path / "qat.pt")):
        source = trtqat.ModelSource(f"{factory}:qat", checkpoint)
        model = trtqat.load_model(source)
        assert torch.equal(model.get_parameter("fc.weight"), trained.fc.weight)
        assert source.describe().checkpoint == "qat.pt"


@pytest.mark.parametrize("wrap", [nn.Identity, nn.DataParallel])
@pytest.mark.parametrize("make", [lambda: Versioned(3, 2), lambda: nn.Sequential(Versioned(3, 2))])
def test_versions_of_modules_are_passed_on(wrap: Any, make: Any, tmp_path: Path) -> None:
    saved = make()
    wrapped = saved if wrap is nn.Identity else wrap(saved)
    torch.save({"model": wrapped.state_dict()}, tmp_path / "saved.pt")
    model = make()
    trtqat.load_state(model, tmp_path / "saved.pt")
    for key, value in saved.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value, rtol=0, atol=0)
    torch.save(dict(saved.state_dict()), tmp_path / "without.pt")
    with pytest.raises(SourceError, match="version 1"):
        trtqat.load_state(make(), tmp_path / "without.pt")
