"""Annoy compiled for another processor, or not at all, is a sentence and not a dead process."""

import pytest

from audiorec.errors import AudiorecError
from audiorec.index import self_test


def test_annoy_runs_here() -> None:
    self_test.check_annoy_runs()


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGILL)", "got signal 4 .* compiled for another processor"),
        ("import no_such_annoy", "got 'ModuleNotFoundError: No module named 'no_such_annoy'' .* install annoy again"),
    ],
)
def test_annoy_that_does_not_run(program: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(self_test, "PROGRAM", program)
    with pytest.raises(AudiorecError, match=message):
        self_test.check_annoy_runs()
