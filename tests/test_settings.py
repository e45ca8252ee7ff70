"""Settings: each documented with its unit, each read from its own variable, each bad value named by it."""

from pathlib import Path
from typing import Any

import pytest
from pydantic_core import PydanticUndefined

from audiorec.errors import BadSetting
from audiorec.settings import ENVIRONMENT_PREFIX, Settings

FIELDS = Settings.model_fields
OTHERS = {  # a valid value by setting, none of them the default
    "model_dir": "/srv/model",
    "clips_dir": "/srv/clips",
    "max_body_bytes": "2048",
    "max_bodies_bytes": "4194304",
    "max_json_bytes": "4096",
    "max_upload_s": "1.5",
    "decode_wall_s": "2.5",
    "decode_cpu_s": "7",
    "decode_memory_bytes": "536870912",
    "n_decoders": "3",
    "encode_queue": "1",
    "encode_batch": "2",
    "upload_cache_mb": "0",
    "text_cache_mb": "0",
    "encode_threads": "2",
    "max_k": "1000",
    "max_text_chars": "5",
    "max_batch": "5",
    "max_excluded": "0",
    "stop_grace_s": "0",
    "request_wait_s": "2.5",
    "swap_poll_s": "0.5",
    "warm": "true",
    "log_level": "warning",
    "log_format": "json",
    "access_log": "true",
    "keys_file": "/etc/audiorec/keys.json",
    "open_metrics": "true",
    "rate_limit": "60/minute",
    "cors_origins": "https://a.example, http://b.example:8080",
    "trusted_proxies": "10.0.0.0/8,::1",
    "root_path": "/audio",
    "generator_model": "OWNER/NAME",
    "generator_device": "cuda:1",
    "generator_dtype": "float16",
    "generator_compile": "true",
    "generator_adapters_dir": "/srv/adapters",
    "generator_threads": "2",
    "generator_niceness": "0",
    "generator_jobs_url": "postgresql://a:b@c/d",
    "generator_sounds_url": "s3://bucket/sounds",
    "generator_sounds_max_bytes": "1048576",
    "generator_sounds_max_age_s": "1.5",
    "generator_jobs_max_age_s": "2.5",
    "generator_max_queued": "1",
    "generator_max_per_caller": "1",
    "generator_max_prompt_characters": "1",
    "generator_max_s": "2.5",
    "generator_max_steps": "1",
    "generator_max_job_s": "2.5",
    "generator_lease_s": "1.5",
}
BAD = {  # values that are none, by setting
    "clips_dir": [""],
    "max_body_bytes": ["1", "x", "1.5", "", "-1"],
    "max_bodies_bytes": ["1000"],
    "max_json_bytes": ["0"],
    "max_upload_s": ["0", "-1", "nan", "inf", "1e9", "ten"],
    "decode_wall_s": ["0", "inf"],
    "decode_cpu_s": ["0", "0.5"],
    "decode_memory_bytes": ["1000000", "1" + "0" * 30],
    "n_decoders": ["0", "65"],
    "encode_queue": ["0"],
    "encode_batch": ["0", "65", "1.5"],
    "upload_cache_mb": ["-1", "1.5"],
    "text_cache_mb": ["-1", "1.5"],
    "encode_threads": ["0"],
    "max_k": ["0", "10001", "x"],
    "max_text_chars": ["0", "1.5"],
    "max_batch": ["0"],
    "max_excluded": ["-1"],
    "stop_grace_s": ["-1", "1.5"],
    "request_wait_s": ["-1", "nan", "inf", "soon"],
    "swap_poll_s": ["-1", "nan", "inf", "often"],
    "warm": ["maybe"],
    "log_level": ["loud", ""],
    "log_format": ["xml", ""],
    "access_log": ["maybe", ""],
    "keys_file": [""],
    "open_metrics": ["maybe"],
    "rate_limit": ["60", "0/minute", "60/fortnight", " "],
    "cors_origins": [
        "example.org",
        "https://a.example/",
        "https://A.example",
        "https://a.example,*",
        "ftp://a.example",
    ],
    "trusted_proxies": ["nginx", "10.0.0.1/8", "10.0.0.256", "10.0.0.1,*"],
    "root_path": ["audio", "/", "/audio/", "//audio", "/a b", "https://example.org/audio"],
    "generator_model": [],  # whether there is one, only the process that loads it can tell
    "generator_device": [],
    "generator_dtype": ["half", ""],
    "generator_compile": ["maybe"],
    "generator_adapters_dir": [""],
    "generator_threads": ["0"],
    "generator_niceness": ["-1", "20"],
    "generator_jobs_url": [],
    "generator_sounds_url": [],
    "generator_sounds_max_bytes": ["1000"],
    "generator_sounds_max_age_s": ["0", "nan", "inf"],
    "generator_jobs_max_age_s": ["0", "nan", "inf"],
    "generator_max_queued": ["0"],
    "generator_max_per_caller": ["0"],
    "generator_max_prompt_characters": ["0"],
    "generator_max_s": ["0", "nan", "inf"],
    "generator_max_steps": ["0", "1.5"],
    "generator_max_job_s": ["0", "inf"],
    "generator_lease_s": ["0", "nan"],
}


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FIELDS:
        monkeypatch.delenv(f"{ENVIRONMENT_PREFIX}{name.upper()}", raising=False)


def plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@pytest.mark.parametrize("name", FIELDS)
def test_each_is_described_with_its_unit(name: str) -> None:
    description = FIELDS[name].description or ""
    assert len(description) > 10
    assert description[0].islower()
    assert not description.endswith(".")
    if name.endswith("_s"):
        assert "seconds" in description
    if FIELDS[name].annotation in (int, float) and not name.endswith(("_s", "_bytes")):
        counted = (
            "processes",
            "threads",
            "jobs",
            "characters",
            "steps",
            "uploads",
            "texts",
            "neighbours",
            "queries",
            "ids",
        )
        assert any(unit in description for unit in counted), "a number is of what?"


@pytest.mark.parametrize("name", FIELDS)
def test_each_is_read_from_its_own_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIOREC_MODEL_DIR", "/elsewhere")
    before = Settings.load().model_dump()
    monkeypatch.setenv(f"AUDIOREC_{name.upper()}", OTHERS[name])
    after = Settings.load().model_dump()
    assert plain(after.pop(name)) == OTHERS[name] != plain(before.pop(name))
    assert after == before


def test_defaults_are_within_their_own_limits() -> None:
    defaults = {name: field.default for name, field in FIELDS.items() if field.default is not PydanticUndefined}
    assert FIELDS.keys() - defaults.keys() == {"model_dir"}
    assert Settings.load(model_dir="x", **defaults) == Settings.load(model_dir="x")


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_bad_value_names_its_variable(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"AUDIOREC_{name.upper()}", value)
    with pytest.raises(BadSetting) as refused:
        Settings.load(model_dir="x")
    assert refused.value.message.startswith(f"got {value!r} for AUDIOREC_{name.upper()}, expected ")
    assert refused.value.exit_code == 2
    assert "\n" not in refused.value.message
    assert "pydantic" not in refused.value.message


def test_bad_values_are_tried_for_every_setting_that_can_have_one() -> None:
    assert BAD.keys() == OTHERS.keys() - {"model_dir"} == FIELDS.keys() - {"model_dir"}


def test_a_missing_model_directory_names_its_variable() -> None:
    with pytest.raises(BadSetting, match="got nothing for AUDIOREC_MODEL_DIR, expected the model directory"):
        Settings.load()


def test_what_is_given_comes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIOREC_MODEL_DIR", "/elsewhere")
    monkeypatch.setenv("AUDIOREC_MAX_K", "7")
    settings = Settings.load(model_dir="/here")
    assert (settings.model_dir, settings.max_k) == (Path("/here"), 7)


def test_a_setting_that_does_not_exist_cannot_be_given() -> None:
    with pytest.raises(BadSetting, match="AUDIOREC_MAX_KK"):
        Settings.load(model_dir="x", max_kk=1)


def test_they_cannot_be_changed() -> None:
    settings = Settings.load(model_dir="x")
    with pytest.raises(ValueError, match="frozen"):
        settings.max_k = 5  # type: ignore[misc]


def test_an_empty_model_directory_is_not_the_current_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUDIOREC_MODEL_DIR", "")
    with pytest.raises(BadSetting, match="got '' for AUDIOREC_MODEL_DIR, expected a path"):
        Settings.load()
