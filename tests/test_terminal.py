"""How commands and scripts end."""

import pytest

from audiorec.errors import BadSetting
from audiorec.terminal import reported


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (BadSetting("got 1, expected\x1b[31m 2"), 2, "error: got 1, expected"),
        (KeyboardInterrupt(), 130, "stopped; the same command goes on where it was"),
    ],
)
def test_outside_a_command_too_there_is_no_traceback(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended, reported():
        raise error
    assert ended.value.code == code
    assert said in capsys.readouterr().err


def test_what_is_a_fault_of_ours_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), reported():
        raise ZeroDivisionError
