"""What the code of a user prints, from several threads."""

from __future__ import annotations

import sys
import threading

import pytest

from trtqat.errors import SourceError
from trtqat.user_code import user_code


def test_the_last_of_two_threads_puts_standard_output_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """They end in the order in which they began, which nests nowhere."""
    before = sys.stdout
    is_in, may_end = threading.Event(), threading.Event()

    def first() -> None:
        with user_code("The first", SourceError, "."):
            is_in.set()
            may_end.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    assert is_in.wait(10)
    with user_code("The second", SourceError, "."):
        may_end.set()
        thread.join()
        sys.stdout.write("aside\n")
    assert sys.stdout is before
    sys.stdout.write("a result\n")
    assert capsys.readouterr() == ("a result\n", "aside\n")


def test_an_exception_puts_standard_output_back() -> None:
    before = sys.stdout
    with pytest.raises(SourceError), user_code("It", SourceError, "Mend it."):
        raise ZeroDivisionError
    assert sys.stdout is before
