"""Every setting of the service: its unit, its default, its environment variable. The only place that reads them."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from audiorec.errors import BadSetting
from audiorec.rate import Rate
from audiorec.text import MAX_TEXT_CHARS

ENVIRONMENT_PREFIX = "AUDIOREC_"
MAX_S = 86_400  # a day: what is longer, or infinite, is a slip
MAX_AGE_S = 10 * 365 * 86_400  # ten years, for what is kept
ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:.]+\](:[0-9]{1,5})?")
PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
VALIDATION_WORDS = ("Input should be ", "Value error, ")  # what pydantic begins its sentences with


def listed(text: str) -> list[str]:
    """The parts of "a, b"; none of an empty text."""
    return [part.strip() for part in text.split(",") if part.strip()]


def _rate_or_none(text: str) -> str:
    if text:
        Rate.parse(text)
    return text


def _origins(text: str) -> str:
    if text.strip() != "*" and not all(map(ORIGIN.fullmatch, listed(text))):
        raise ValueError("* or origins in lower case, as https://example.org, joined by commas")
    return text


def _addresses(text: str) -> str:
    try:
        for part in listed(text) if text.strip() != "*" else ():
            ipaddress.ip_network(part)
    except ValueError:
        raise ValueError("* or addresses and networks, as 10.0.0.0/8, joined by commas") from None
    return text


def _prefix(text: str) -> str:
    if text and not PREFIX.fullmatch(text):
        raise ValueError("a path that begins with / and does not end with one, as /audio")
    return text


def _named(path: object) -> object:
    if path == "":  # it would be the current folder
        raise ValueError("a path, or no such variable at all")
    return path


Place = Annotated[Path, BeforeValidator(_named)]


class Settings(BaseSettings):
    """The environment variable of a setting is its name in capitals after AUDIOREC_, as AUDIOREC_MODEL_DIR."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="forbid")

    model_dir: Place = Field(description="the model directory, or a release, to serve")
    clips_dir: Place | None = Field(
        None, description="the folder of clips that the catalogue was built from, for those who want to hear them"
    )
    max_body_bytes: int = Field(32 * 2**20, ge=1024, description="the largest request body, counted while it arrives")
    max_bodies_bytes: int = Field(
        512 * 2**20, ge=2**20, description="all request bodies that a worker holds at once; more are answered 503"
    )
    max_json_bytes: int = Field(2 * 2**20, ge=1024, description="the largest JSON body")
    max_upload_s: float = Field(600.0, gt=0, le=MAX_S, description="the longest uploaded sound, in seconds")
    decode_wall_s: float = Field(30.0, gt=0, le=MAX_S, description="how long decoding one upload may take, in seconds")
    decode_cpu_s: int = Field(
        30, ge=1, le=MAX_S, description="processor time that decoding one upload may take, in seconds"
    )
    decode_memory_bytes: int = Field(
        3 * 2**30, ge=2**29, le=2**62, description="address space of a process that decodes"
    )
    n_decoders: int = Field(1, ge=1, le=64, description="processes that decode uploads, for each worker")
    encode_queue: int = Field(16, ge=1, description="uploads and texts at once in a worker; more are answered 503")
    encode_batch: int = Field(
        4, ge=1, le=64, description="windows of waiting uploads that the encoder is given at once"
    )
    upload_cache_mb: int = Field(
        16, ge=0, description="what a worker keeps of the vectors of recent uploads, in MB; 0 is nothing"
    )
    text_cache_mb: int = Field(
        4, ge=0, description="what a worker keeps of the vectors of recent texts, in MB; 0 is nothing"
    )
    encode_threads: int = Field(1, ge=1, description="torch threads that encode, for each worker")
    max_k: int = Field(100, ge=1, le=10_000, description="the most neighbours a query may ask for")
    max_text_chars: int = Field(MAX_TEXT_CHARS, ge=1, description="the longest text that is looked for, in characters")
    max_batch: int = Field(256, ge=1, description="the most queries in one /nearest/batch")
    max_excluded: int = Field(10_000, ge=0, description="the most clip ids in `exclude`")
    stop_grace_s: int = Field(20, ge=0, description="how long requests may go on after SIGTERM, in seconds")
    request_wait_s: float = Field(
        20.0,
        gt=0,
        le=MAX_S,
        description="how long a request may take to arrive, in seconds; each 1,000 bytes of it give it another",
    )
    swap_poll_s: float = Field(
        1.5, ge=0.01, le=MAX_S, description="how often a worker looks for a new current release, in seconds"
    )
    warm: bool = Field(False, description="load the encoder at start instead of at the first upload")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="what is logged")
    log_format: Literal["text", "json"] = Field("text", description="how it is logged: JSON is an object a line")
    access_log: bool | None = Field(
        None, description="a line in the log for each request; unless said, only where the log is JSON"
    )
    keys_file: Place | None = Field(
        None, description="the API keys, as `audiorec keys` writes them; without it the service is open to everybody"
    )
    open_metrics: bool = Field(False, description="serve /metrics without a key where others need one")
    rate_limit: Annotated[str, AfterValidator(_rate_or_none)] = Field(
        "", description="how often a key, or an address without one, may ask, as 60/minute; empty is any"
    )
    cors_origins: Annotated[str, AfterValidator(_origins)] = Field(
        "", description="the origins whose web pages may ask, joined by commas, or *; empty is none but our own"
    )
    trusted_proxies: Annotated[str, AfterValidator(_addresses)] = Field(
        "127.0.0.1,::1", description="addresses and networks of proxies that are believed who their client is, or *"
    )
    root_path: Annotated[str, AfterValidator(_prefix)] = Field(
        "", description="the path that a proxy in front serves all this under, as /audio"
    )

    generator_model: str = Field(
        "", description="the model that makes sounds from texts, by directory or hub id; empty is none"
    )
    generator_device: str = Field("cpu", description="where it computes, as torch calls it: cpu, cuda, cuda:1")
    generator_dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="in what it computes; half precision is for a GPU, where it is twice as fast"
    )
    generator_compile: bool = Field(False, description="compile it by torch.compile, which takes minutes at its start")
    generator_adapters_dir: Place | None = Field(None, description="the folder of its fine-tunings, each by its name")
    generator_threads: int = Field(1, ge=1, le=1024, description="torch threads that make a sound")
    generator_niceness: int = Field(
        10, ge=0, le=19, description="how far the process that makes sounds steps back behind processes that answer"
    )
    generator_jobs_url: str = Field(
        "",
        description="the database of jobs, as sqlite:////PATH or postgresql://USER:PASSWORD@HOST/NAME; unless said, a "
        "file in the model directory. Named alone, without a model, sounds are made on other hosts",
    )
    generator_sounds_url: str = Field(
        "", description="where sounds are kept, a directory or a store that fsspec knows; unless said, beside the jobs"
    )
    generator_sounds_max_bytes: int = Field(2 * 2**30, ge=2**20, description="the most that sounds take there")
    generator_sounds_max_age_s: float = Field(
        7 * 86_400.0, gt=0, le=MAX_AGE_S, description="how long a sound is kept that nobody asks for, in seconds"
    )
    generator_jobs_max_age_s: float = Field(
        86_400.0, gt=0, le=MAX_AGE_S, description="how long a job is known after its end, in seconds"
    )
    generator_max_queued: int = Field(32, ge=1, le=10_000, description="jobs that wait; more are answered 429")
    generator_max_per_caller: int = Field(
        4, ge=1, le=10_000, description="jobs of one caller that have not ended; more are answered 429"
    )
    generator_max_prompt_characters: int = Field(1_000, ge=1, le=100_000, description="the most characters in a prompt")
    generator_max_s: float = Field(30.0, gt=0, le=MAX_S, description="the longest sound that is made, in seconds")
    generator_max_steps: int = Field(200, ge=1, le=10_000, description="the most steps in which a sound is made")
    generator_max_job_s: float = Field(
        3_600.0, gt=0, le=MAX_S, description="how long one sound may take to make, in seconds"
    )
    generator_lease_s: float = Field(
        60.0,
        ge=1,
        le=3_600,
        description="after how many seconds without a sign of life a host that makes a sound is given up",
    )

    @property
    def has_generator(self) -> bool:
        """Here or on another host."""
        return bool(self.generator_model or self.generator_jobs_url)

    @property
    def logs_requests(self) -> bool:
        return self.log_format == "json" if self.access_log is None else self.access_log

    @classmethod
    def load(cls, **given: object) -> "Settings":
        """From the environment; `given` values come first. Raises BadSetting, naming the variable."""
        try:
            return cls(**given)  # type: ignore[arg-type]
        except ValidationError as error:
            first = error.errors()[0]
            name = str(first["loc"][0])
            variable = f"{ENVIRONMENT_PREFIX}{name.upper()}"
            if first["type"] == "missing":
                raise BadSetting(f"got nothing for {variable}, expected {cls.model_fields[name].description}") from None
            expected = first["msg"]
            for word in VALIDATION_WORDS:
                expected = expected.removeprefix(word)
            raise BadSetting(f"got {first['input']!r} for {variable}, expected {expected}") from None
