"""Token buckets: against a plain model, full tables, and several processes at once."""

import fcntl
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from audiorec.api import buckets as buckets_module
from audiorec.api.buckets import FILE_BYTES, PLACES, SECOND_NS, Buckets, make_buckets_file
from audiorec.rate import Rate

NOW_NS = 5_000 * SECOND_NS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "buckets"
    make_buckets_file(path)
    return path


@pytest.fixture(params=["shared", "own"])
def buckets(request: pytest.FixtureRequest, path: Path) -> Iterator[Buckets]:
    buckets = Buckets(path if request.param == "shared" else None)
    yield buckets
    buckets.close()


class Model:
    """A bucket as textbooks have it: it drips in, a request takes a token's worth. Its level is in ns."""

    def __init__(self, rate: Rate) -> None:
        self.size_ns = self.level_ns = rate.period_s * SECOND_NS
        self.token_ns = self.size_ns // rate.times
        self.at_ns = NOW_NS

    def take(self, now_ns: int) -> bool:
        self.level_ns = min(self.size_ns, self.level_ns + now_ns - self.at_ns)
        self.at_ns = now_ns
        if self.level_ns < self.token_ns:
            return False
        self.level_ns -= self.token_ns
        return True


class TestTake:
    def test_so_many_at_once_and_then_one_by_one(self, buckets: Buckets) -> None:
        rate = Rate.parse("60/minute")
        taken = [buckets.take("a", rate, NOW_NS) for _ in range(61)]
        assert [one.allowed for one in taken] == [True] * 60 + [False]
        assert [one.remaining for one in taken] == [*range(59, -1, -1), 0]
        assert [one.full_in_s for one in taken] == [*range(1, 61), 60]
        assert [one.retry_in_s for one in taken] == [0] * 59 + [1, 1]
        assert not buckets.take("a", rate, NOW_NS + SECOND_NS - 1).allowed
        assert buckets.take("a", rate, NOW_NS + SECOND_NS).allowed
        assert not buckets.take("a", rate, NOW_NS + SECOND_NS).allowed
        assert [buckets.take("a", rate, NOW_NS + 61 * SECOND_NS).allowed for _ in range(61)] == [True] * 60 + [False]

    def test_who_is_refused_pays_nothing(self, buckets: Buckets) -> None:
        rate = Rate.parse("2/minute")
        assert [buckets.take("a", rate, NOW_NS).allowed for _ in range(100)] == [True] * 2 + [False] * 98
        taken = buckets.take("a", rate, NOW_NS + 30 * SECOND_NS)
        assert (taken.allowed, taken.retry_in_s, taken.full_in_s) == (True, 30, 60)

    @pytest.mark.parametrize("text", ["1/second", "3/second", "7/minute", "60/minute", "1000000/day"])
    def test_as_the_model(self, buckets: Buckets, text: str) -> None:
        rate, rng, now_ns = Rate.parse(text), random.Random(text), NOW_NS
        model = Model(rate)
        pause_ns = rate.period_s * SECOND_NS // rate.times
        for _ in range(2_000):
            now_ns += rng.choice([0, 0, 0, pause_ns // 3, pause_ns * 2, rng.randrange(4 * pause_ns)])
            assert buckets.take("a", rate, now_ns).allowed == model.take(now_ns)

    def test_clients_do_not_share(self, buckets: Buckets) -> None:
        rate = Rate.parse("1/minute")
        clients = [f"10.0.{n // 250}.{n % 250}" for n in range(2_000)]
        assert all(buckets.take(client, rate, NOW_NS).allowed for client in clients)
        assert not any(buckets.take(client, rate, NOW_NS).allowed for client in clients)

    def test_a_clock_that_stands_still_or_is_of_another_start_of_the_machine(self, buckets: Buckets) -> None:
        rate = Rate.parse("1/minute")
        assert buckets.take("a", rate, 0).allowed
        assert not buckets.take("a", rate, 0).allowed

    def test_by_the_clock_that_nobody_sets(self, buckets: Buckets, monkeypatch: pytest.MonkeyPatch) -> None:
        rate = Rate.parse("1/day")
        monkeypatch.setattr(time, "time", lambda: 0.0)
        assert [buckets.take("a", rate).allowed for _ in range(2)] == [True, False]
        assert buckets.take("a", rate, time.monotonic_ns() + 86_401 * SECOND_NS).allowed


class TestTable:
    def test_one_set_holds_so_many_and_then_forgets_who_has_to_wait_least(
        self, buckets: Buckets, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(buckets_module, "N_SETS", 1)
        rates = [Rate(1, 60 * (n + 1)) for n in range(PLACES)]
        for n, rate in enumerate(rates):
            assert buckets.take(f"client {n}", rate, NOW_NS).allowed
        assert not any(buckets.take(f"client {n}", rate, NOW_NS).allowed for n, rate in enumerate(rates))
        assert buckets.take("one more", rates[-1], NOW_NS).allowed
        assert [buckets.take(f"client {n}", rates[n], NOW_NS).allowed for n in range(1, PLACES)] == [False] * (
            PLACES - 1
        )
        assert buckets.take("client 0", rates[0], NOW_NS).allowed

    def test_a_bucket_that_is_full_makes_place(self, buckets: Buckets, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(buckets_module, "N_SETS", 1)
        assert buckets.take("slow", Rate(1, 86_400), NOW_NS).allowed
        for minute in range(100):
            for n in range(PLACES - 1):
                assert buckets.take(f"{minute} {n}", Rate(1, 60), NOW_NS + minute * 60 * SECOND_NS).allowed
        assert not buckets.take("slow", Rate(1, 86_400), NOW_NS + 6_000 * SECOND_NS).allowed

    def test_each_table_has_a_salt_of_its_own(self, tmp_path: Path) -> None:
        paths = [tmp_path / name for name in "ab"]
        for path in paths:
            make_buckets_file(path)
            buckets = Buckets(path)
            buckets.take("a", Rate(1, 60), NOW_NS)
            buckets.close()
            assert path.stat().st_size == FILE_BYTES
        first, second = (path.read_bytes() for path in paths)
        assert first[:16] != second[:16]
        assert first[16:] != second[16:]


TAKER = """
import sys
from pathlib import Path
from audiorec.api.buckets import Buckets
from audiorec.rate import Rate
buckets = Buckets(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.read(1)
rate = Rate(1_000, 86_400)
print(sum(buckets.take(f"key {n % 3}", rate).allowed for n in range(6_000)))
"""

HOLDER = """
import fcntl, sys
file = open(sys.argv[1], "r+b")
fcntl.lockf(file, fcntl.LOCK_EX)
print("held", flush=True)
sys.stdin.read()
"""


class TestProcesses:
    def test_together_they_give_each_client_what_it_may_have(self, path: Path) -> None:
        command = [sys.executable, "-c", TAKER, str(path)]
        pipe = subprocess.PIPE
        takers = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(3)]
        for taker in takers:
            assert taker.stdout is not None
            assert taker.stdout.readline() == "ready\n"
        allowed = 0
        for taker in takers:
            assert taker.stdin is not None
            taker.stdin.write("x")
            taker.stdin.flush()
        for taker in takers:
            allowed += int(taker.communicate()[0])
            assert taker.returncode == 0
        assert 3 * 1_000 <= allowed <= 3 * 1_000 + 3  # while they run, up to one token more may come for each

    def test_one_that_was_stopped_with_the_lock_stops_nobody(self, path: Path) -> None:
        pipe = subprocess.PIPE
        holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)], stdin=pipe, stdout=pipe, text=True)
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with path.open("r+b") as file, pytest.raises(OSError, match="unavailable"):
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        buckets = Buckets(path)
        assert [buckets.take("a", Rate(2, 60), NOW_NS).allowed for _ in range(3)] == [True, True, False]
        buckets.close()
        holder.communicate("")
        assert holder.returncode == 0
