from __future__ import annotations

import logging
from pathlib import Path

import pytest

from tests.support.image_files import drawn, write_classes, write_image
from trtqat.data.images.listing import files_of_images, list_images
from trtqat.errors import DataError


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_classes_are_numbered_by_their_names(tmp_path: Path) -> None:
    # Capitals come first, as Python sorts and torchvision's ImageFolder does.
    touch(tmp_path, "b/2.jpg", "b/10.JPEG", "b/in/0.png", "a/x.webp", "B/y.bmp", "b/notes.txt")
    listing = list_images(tmp_path)
    assert listing.classes == ("B", "a", "b")
    names = [each.relative_to(tmp_path).as_posix() for each in listing.files]
    assert names == ["B/y.bmp", "a/x.webp", "b/10.JPEG", "b/2.jpg", "b/in/0.png"]
    assert listing.labels is not None
    assert listing.labels.tolist() == [0, 1, 2, 2, 2]


def test_a_link_that_leads_back_is_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "a/x.jpg", "b/y.jpg", "elsewhere/in/z.jpg")
    data = tmp_path / "data"
    data.mkdir()
    for name in ("a", "b"):
        (tmp_path / name).rename(data / name)
        # Twice: 2 ** 40 paths until the system gives up.
        for number in range(2):
            (data / name / f"up{number}").symlink_to(data, target_is_directory=True)
    (data / "b" / "other").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    names = [each.relative_to(data).as_posix() for each in list_images(data).files]
    assert names == ["a/x.jpg", "b/y.jpg", "b/other/in/z.jpg"]


def test_images_without_classes(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "a.png", "readme.md")
    listing = list_images(tmp_path)
    assert [each.name for each in listing.files] == ["a.png", "b.png"]
    assert listing.labels is None


def test_images_beside_classes_are_not_read_silently(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "a/1.png", "loose.png")
    with caplog.at_level(logging.WARNING):
        assert len(list_images(tmp_path).files) == 1
    assert "1 images beside the folders" in caplog.text


def test_a_class_without_images_would_shift_the_others(tmp_path: Path) -> None:
    touch(tmp_path, "b/1.png", ".cache/x.txt")
    with pytest.raises(DataError, match=r"'\.cache' in .* holds no image but others"):
        list_images(tmp_path)


@pytest.mark.parametrize("mark", ["", "\N{ZERO WIDTH NO-BREAK SPACE}"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_a_table_in_its_order(tmp_path: Path, mark: str, newline: str) -> None:
    touch(tmp_path, "in/b.png", "a.png", "c,d.png")
    lines = [f"{mark}split,label,file", "x,7,in/b.png", "", "x,0,a.png", 'x,12,"c,d.png"', ""]
    (tmp_path / "labels.csv").write_bytes(newline.join(lines).encode())
    listing = list_images(tmp_path)
    assert [each.name for each in listing.files] == ["b.png", "a.png", "c,d.png"]
    assert listing.labels is not None
    assert listing.labels.tolist() == [7, 0, 12]
    assert files_of_images(tmp_path) == [tmp_path / "labels.csv", *listing.files]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "first line of .* is ''"),
        ("a.png,1\n", "first line of .* is 'a.png,1'"),
        ("file;label\na.png;1\n", "separates its columns by ';'"),
        ("file\tlabel\na.png\t1\n", "separates its columns by tabs"),
        ("file,label\n", "names no image"),
        ("file,label\na.png\n", "Line 2 of .* has 1 columns"),
        ("file,label\nb.png,1\n", "Line 2 of .* names 'b.png', which is no file"),
        ("file,label\n..,1\n", r"names '\.\.', which is no file"),
        ("file,label\na.png,cat\n", "the class 'cat', which is no number"),
        ("file,label\na.png,-1\n", "the class '-1', which is no number"),
        ("file,label\na.png,1.0\n", "the class '1.0', which is no number"),
        ("file,label\na.png,9223372036854775808\n", "which is no number"),
        ("file,label\na.png,1\na.png,2\n", "Line 3 of .* names 'a.png' again"),
        ('file,label\n"a.png,1\n', "no line of a table"),
    ],
)
def test_what_is_no_table(tmp_path: Path, text: str, message: str) -> None:
    touch(tmp_path, "a.png")
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(DataError, match=message) as raised:
        list_images(tmp_path)
    assert raised.value.remedy


def test_a_table_names_no_file_in_two_ways(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "sub/a.png", "elsewhere/a.png", "elsewhere/in/b.png")
    (tmp_path / "b.png").symlink_to("a.png")
    (tmp_path / "link").symlink_to("elsewhere/in")
    # The last one is beside the folder that the link leads to.
    apart = ["a.png", "b.png", "sub/a.png", "link/b.png", "link/../a.png"]
    for again in ("sub/../a.png", "elsewhere/../sub/./a.png", "elsewhere/in/b.png"):
        lines = ["file,label", *(f"{each},1" for each in (*apart, again))]
        (tmp_path / "labels.csv").write_text("\n".join(lines[:-1]))
        assert len(list_images(tmp_path).files) == 5
        (tmp_path / "labels.csv").write_text("\n".join(lines))
        with pytest.raises(DataError, match=f"Line 7 of .* names '{again}' again"):
            list_images(tmp_path)


def test_a_table_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_bytes("file,label\nä.png,1\n".encode("latin-1"))
    with pytest.raises(DataError, match="no text in UTF-8"):
        list_images(tmp_path)


def test_folders_that_hold_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        list_images(tmp_path / "nowhere")
    with pytest.raises(DataError, match="holds no image"):
        list_images(tmp_path)
    (tmp_path / "list.txt").touch()
    with pytest.raises(DataError, match=r"list\.txt' is a file"):
        list_images(tmp_path / "list.txt")


def test_a_class_that_holds_files_of_other_names(tmp_path: Path) -> None:
    write_image(tmp_path / "ants" / "a.png", drawn(0))
    write_image(tmp_path / "bees" / "more" / "b.gif", drawn(0))
    message = "'bees' in '.*' would be the class 1, and holds no image but others as 'b.gif'"
    with pytest.raises(DataError, match=message) as raised:
        list_images(tmp_path)
    assert ".jpeg, .png" in raised.value.remedy


def test_files_by_class(tmp_path: Path) -> None:
    write_classes(tmp_path, 2)
    write_image(tmp_path / "bees" / "more.png", drawn(9))
    assert len(files_of_images(tmp_path)) == 5
