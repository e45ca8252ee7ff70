"""The keys file: what is written, what is refused, and the commands that do it."""

import errno
import hashlib
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from audiorec.api import keys as keys_module
from audiorec.api.keys import KEY_PREFIX, SCOPES, create_key, described, parse_end, read_keys, revoke_key
from audiorec.cli import app
from audiorec.errors import BadSetting, Busy, NoSpace
from audiorec.files import locked


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def an_hour_ago() -> datetime:
    return datetime.now(timezone.utc) - timedelta(hours=1)


class TestCreate:
    def test_a_key_is_random_and_only_its_hash_is_kept(self, path: Path) -> None:
        created = [create_key(path, f"client-{n}", ["read"]) for n in range(20)]
        assert len(set(created)) == 20
        for key in created:
            assert key.startswith(KEY_PREFIX)
            assert len(key) == len(KEY_PREFIX) + 43  # 256 bits
            assert key.removeprefix(KEY_PREFIX) not in path.read_text()
        kept = {key.name: key.sha256 for key in read_keys(path)}
        assert kept == {f"client-{n}": hashlib.sha256(key.encode()).hexdigest() for n, key in enumerate(created)}

    def test_what_is_given_is_kept(self, path: Path) -> None:
        end = datetime(2099, 1, 31, tzinfo=timezone.utc)
        create_key(path, "ops", ["admin", "read", "admin"], rate="60/minute", expires_at=end)
        (key,) = read_keys(path)
        assert (key.name, key.scopes, key.rate, key.expires_at) == ("ops", ("read", "admin"), "60/minute", end)
        assert key.revoked_at is None
        assert timedelta(0) <= datetime.now(timezone.utc) - key.created_at < timedelta(minutes=1)

    def test_the_file_is_for_its_owner_alone_from_its_first_byte_on(
        self, path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        modes = []
        dumps = json.dumps

        def look(*arguments: Any, **options: Any) -> str:
            modes.extend(stat.S_IMODE(one.stat().st_mode) for one in path.parent.glob(".part-*"))
            return dumps(*arguments, **options)

        monkeypatch.setattr(keys_module.json, "dumps", look)
        old = os.umask(0)
        try:
            create_key(path, "a", ["read"])
        finally:
            os.umask(old)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert modes == [0o600]

    def test_a_changed_file_keeps_the_rights_that_somebody_gave_it(self, path: Path) -> None:
        create_key(path, "a", ["read"])
        path.chmod(0o640)
        if os.geteuid() == 0:
            os.chown(path, 1, 2)
        create_key(path, "b", ["read"])
        status = path.stat()
        assert stat.S_IMODE(status.st_mode) == 0o640
        if os.geteuid() == 0:
            assert (status.st_uid, status.st_gid) == (1, 2)

    @pytest.mark.parametrize("name", ["", "a b", "-a", ".a", "a/b", "ä", "a\n", "x" * 65, "key ", "a:b"])
    def test_a_name_that_logs_could_not_hold(self, path: Path, name: str) -> None:
        with pytest.raises(BadSetting, match=r"got the name '.*', expected 1 to 64 letters"):
            create_key(path, name, ["read"])
        assert not path.exists()

    @pytest.mark.parametrize("name", ["a", "0", "web-shop_2.test", "x" * 64])
    def test_other_names_are_fine(self, path: Path, name: str) -> None:
        create_key(path, name, ["read"])
        assert [key.name for key in read_keys(path)] == [name]

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"scopes": []}, "got nothing for scopes, expected some of read, write, generate, admin"),
            ({"scopes": ["read", "root"]}, "got 'root' for scopes, expected some of read, write"),
            ({"rate": "5"}, "got '5' for the rate, expected a number of 1 to 1000000 and one of second, minute"),
            ({"rate": "0/minute"}, "got '0/minute' for the rate"),
            ({"rate": ""}, "got '' for the rate"),
            ({"expires_at": datetime(2020, 1, 1, tzinfo=timezone.utc)}, "got the end 2020-01-01T00:00:00"),
        ],
    )
    def test_what_makes_no_key(self, path: Path, given: dict[str, Any], message: str) -> None:
        with pytest.raises(BadSetting) as refused:
            create_key(path, "a", **{"scopes": ["read"], **given})
        assert refused.value.message.startswith(message)
        assert not path.exists()

    def test_a_name_is_given_once(self, path: Path) -> None:
        create_key(path, "a", ["read"])
        before = path.read_bytes()
        with pytest.raises(BadSetting, match="got the name a, which another key has"):
            create_key(path, "a", ["admin"])
        assert path.read_bytes() == before

    def test_the_name_of_a_key_that_has_ended_is_free(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        create_key(path, "a", ["read"])
        revoke_key(path, "a")
        with monkeypatch.context() as past:
            past.setattr(keys_module, "_now", an_hour_ago)
            create_key(path, "b", ["read"], expires_at=datetime.now(timezone.utc) - timedelta(minutes=5))
        assert [key["state"] for key in described(read_keys(path))] == ["revoked", "expired"]
        for name in ("a", "b"):
            create_key(path, name, ["admin"])
        assert [(key["name"], key["state"]) for key in described(read_keys(path))] == [("a", "active"), ("b", "active")]


class TestRevoke:
    def test_the_key_stays_in_the_file_and_is_not_good_any_more(self, path: Path) -> None:
        create_key(path, "a", ["read"])
        create_key(path, "b", ["read"])
        revoke_key(path, "a")
        assert {key.name: key.state(datetime.now(timezone.utc)) for key in read_keys(path)} == {
            "a": "revoked",
            "b": "active",
        }
        assert {key["name"]: key["revoked_at"] is None for key in described(read_keys(path))} == {"a": False, "b": True}

    def test_one_that_is_not_there(self, path: Path) -> None:
        with pytest.raises(BadSetting, match=r"'keys\.json', which cannot be read \(No such file"):
            revoke_key(path, "a")
        create_key(path, "a", ["read"])
        with pytest.raises(BadSetting, match="got the name 'c', expected a key that is not revoked yet: a"):
            revoke_key(path, "c")
        revoke_key(path, "a")
        with pytest.raises(BadSetting, match="got the name 'a', expected a key that is not revoked yet: none is left"):
            revoke_key(path, "a")


class TestFile:
    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            (b"", "Invalid JSON"),
            (b"{", "Invalid JSON"),
            (b"[]", "valid dictionary|object"),
            (b"[" * 100_000, "Invalid JSON"),
            (b"\xff\xfe", "Invalid JSON"),
            (b"{}", "format_version: Field required"),
            (b'{"format_version": 2, "keys": []}', "format_version: Input should be 1"),
            (b'{"format_version": 1, "keys": [], "more": 1}', "more: Extra inputs"),
            (b'{"format_version": 1, "keys": [{}]}', "keys.0.name: Field required"),
        ],
    )
    def test_that_is_none(self, path: Path, content: bytes, fault: str) -> None:
        path.write_bytes(content)
        for attempt in (read_keys, lambda path: create_key(path, "a", ["read"])):
            with pytest.raises(BadSetting, match=rf"got the keys file 'keys.json', which is none .*({fault})"):
                attempt(path)
        assert path.read_bytes() == content

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("name", "a b"),
            ("sha256", "x" * 64),
            ("sha256", "0" * 63),
            ("scopes", []),
            ("scopes", ["root"]),
            ("scopes", "read"),
            ("rate", "5"),
            ("expires_at", "soon"),
            ("created_at", "2026-01-01T00:00:00"),
            ("key", "audiorec_secret"),
        ],
    )
    def test_with_a_key_that_is_none_names_the_field_and_not_its_value(
        self, path: Path, field: str, value: Any
    ) -> None:
        create_key(path, "a", ["read"])
        content = json.loads(path.read_text())
        content["keys"][0][field] = value
        path.write_text(json.dumps(content))
        with pytest.raises(BadSetting, match=rf"which is none \(keys\.0\.{field}") as refused:
            read_keys(path)
        if field in ("key", "sha256"):
            assert str(value) not in refused.value.message

    @pytest.mark.parametrize("field", ["name", "sha256"])
    def test_with_two_keys_of_one_name_or_hash(self, path: Path, field: str) -> None:
        for name in ("a", "b"):
            create_key(path, name, ["read"])
        content = json.loads(path.read_text())
        content["keys"][1][field] = content["keys"][0][field]
        path.write_text(json.dumps(content))
        with pytest.raises(BadSetting, match=f"two keys of one {field}"):
            read_keys(path)

    def test_that_cannot_be_read(self, path: Path) -> None:
        path.mkdir()
        with pytest.raises(BadSetting, match=r"which cannot be read \(Is a directory\)"):
            read_keys(path)

    def test_that_is_far_too_large(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(keys_module, "MAX_FILE_BYTES", 1_000)
        path.write_bytes(b" " * 1_001)
        with pytest.raises(BadSetting, match="more than 1,000 bytes"):
            read_keys(path)

    def test_that_somebody_else_is_changing(self, path: Path) -> None:
        create_key(path, "a", ["read"])
        with locked(path.with_name(".keys.json.lock"), "the keys file"), pytest.raises(Busy, match="the keys file"):
            revoke_key(path, "a")

    def test_on_a_full_disk_stays_as_it_was(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        create_key(path, "a", ["read"])
        before = path.read_bytes()

        def full(descriptor: int) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr("os.fsync", full)
        with pytest.raises(NoSpace):
            create_key(path, "b", ["read"])
        assert path.read_bytes() == before
        assert [one.name for one in path.parent.glob(".part-*")] == []

    def test_many_at_once_lose_no_key(self, path: Path) -> None:
        """Each tries until it is its turn."""

        def create(n: int) -> None:
            while True:
                try:
                    create_key(path, f"client-{n}", ["read"])
                except Busy:
                    continue
                return

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(create, range(12)))
        assert sorted(key.name for key in read_keys(path)) == sorted(f"client-{n}" for n in range(12))


class TestEnd:
    @pytest.mark.parametrize(("text", "hours"), [("12h", 12), ("90d", 90 * 24), ("1h", 1)])
    def test_a_span(self, text: str, hours: int) -> None:
        left = parse_end(text) - datetime.now(timezone.utc)
        assert abs(left - timedelta(hours=hours)) < timedelta(minutes=1)

    @pytest.mark.parametrize(
        ("text", "end"),
        [
            ("2099-01-31", datetime(2099, 1, 31, tzinfo=timezone.utc)),
            ("2099-01-31T12:30", datetime(2099, 1, 31, 12, 30, tzinfo=timezone.utc)),
            ("2099-01-31T12:30+02:00", datetime(2099, 1, 31, 10, 30, tzinfo=timezone.utc)),
        ],
    )
    def test_a_time(self, text: str, end: datetime) -> None:
        assert parse_end(text) == end

    @pytest.mark.parametrize("text", ["soon", "", "90", "d", "0d", "-1d", "2099-02-31", "9999999d", "90m"])
    def test_neither(self, text: str) -> None:
        with pytest.raises(BadSetting, match=f"got the end '{text}', expected a span as 90d or 12h, or a day"):
            parse_end(text)


class TestCommands:
    @pytest.fixture
    def run(self, path: Path) -> Callable[..., Result]:
        def run(*arguments: str) -> Result:
            return CliRunner().invoke(app, ["keys", *arguments], env={"AUDIOREC_KEYS_FILE": str(path)})

        return run

    def test_a_key_from_its_beginning_to_its_end(self, run: Callable[..., Result], path: Path) -> None:
        made = run("create", "web")
        assert made.exit_code == 0
        (key,) = made.stdout.splitlines()  # alone, for KEY=$(audiorec keys create web)
        assert "the key of web, shown this once" in made.stderr
        assert read_keys(path)[0].sha256 == hashlib.sha256(key.encode()).hexdigest()
        assert read_keys(path)[0].scopes == ("read",)
        options = ["--scope", "admin", "--scope", "generate", "--rate", "5/second", "--expires", "2099-01-31"]
        assert run("create", "ops", *options).exit_code == 0

        lines = run("list").stdout.splitlines()
        assert lines[0].split() == ["name", "state", "scopes", "rate", "created_at", "expires_at", "revoked_at"]
        assert lines[1].split()[:3] == ["web", "active", "read"]
        assert lines[2].split()[:5] == ["ops", "active", "generate", "admin", "5/second"]
        assert run("revoke", "web").stdout == "the key of web is revoked\n"
        shown = json.loads(run("list", "--json").stdout)
        assert [(one["name"], one["state"]) for one in shown] == [("web", "revoked"), ("ops", "active")]
        assert key not in run("list").stdout
        assert "sha256" not in shown[0]

    def test_a_list_of_none(self, run: Callable[..., Result], path: Path) -> None:
        path.write_text('{"format_version": 1, "keys": []}')
        assert run("list").stdout.split()[:3] == ["name", "state", "scopes"]
        assert json.loads(run("list", "--json").stdout) == []

    @pytest.mark.parametrize(
        ("arguments", "exit_code", "message"),
        [
            (["create", "a b"], 2, "got the name 'a b'"),
            (["create", "a", "--scope", "root"], 2, "got 'root' for scopes"),
            (["create", "a", "--expires", "soon"], 2, "got the end 'soon'"),
            (["list"], 2, "which cannot be read (No such file or directory)"),
            (["revoke", "a"], 2, "which cannot be read (No such file or directory)"),
        ],
    )
    def test_a_slip_is_a_sentence_and_an_exit_code(
        self, run: Callable[..., Result], arguments: list[str], exit_code: int, message: str
    ) -> None:
        result = run(*arguments)
        assert (result.exit_code, result.stdout) == (exit_code, "")
        assert result.stderr.startswith("error: ")
        assert message in result.stderr

    def test_without_a_file(self) -> None:
        result = CliRunner().invoke(app, ["keys", "list"], env={"AUDIOREC_KEYS_FILE": None})
        assert result.exit_code == 2
        assert "AUDIOREC_KEYS_FILE" in result.stderr

    def test_they_import_nothing_of_the_service(self, path: Path) -> None:
        program = (
            "import sys; from audiorec.cli import app; app(['keys', 'create', 'a'], standalone_mode=False); "
            "sys.exit(str(sorted({'fastapi', 'starlette', 'prometheus_client', 'torch'} & sys.modules.keys())))"
        )
        environment = {**os.environ, "AUDIOREC_KEYS_FILE": str(path)}
        ended = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        assert ended.stderr.splitlines()[-1] == "[]"


def test_scopes_are_those_that_are_documented() -> None:
    assert SCOPES == ("read", "write", "generate", "admin")
