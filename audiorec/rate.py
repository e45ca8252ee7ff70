"""How often something may be done: "60/minute"."""

import re
from dataclasses import dataclass

PERIODS_S = {"second": 1, "minute": 60, "hour": 3_600, "day": 86_400}
MAX_TIMES = 1_000_000
_TEXT = re.compile(rf"([1-9][0-9]{{0,6}})/({'|'.join(PERIODS_S)})", re.ASCII)


@dataclass(frozen=True)
class Rate:
    """So many `times`, at once or spread, in `period_s` seconds."""

    times: int
    period_s: int

    @classmethod
    def parse(cls, text: str) -> "Rate":
        """From "60/minute". Raises ValueError, saying what was expected."""
        found = _TEXT.fullmatch(text)
        if found is None or int(found[1]) > MAX_TIMES:
            raise ValueError(f"a number of 1 to {MAX_TIMES} and one of {', '.join(PERIODS_S)}, as 60/minute")
        return cls(int(found[1]), PERIODS_S[found[2]])
