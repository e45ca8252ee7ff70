"""Every setting of the service: its unit, its default, its environment variable. The only place that reads them."""

from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from audiorec.errors import BadSetting

ENVIRONMENT_PREFIX = "AUDIOREC_"
MAX_S = 86_400  # a day: what is longer, or infinite, is a slip


class Settings(BaseSettings):
    """The environment variable of a setting is its name in capitals after AUDIOREC_, as AUDIOREC_MODEL_DIR."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="forbid")

    model_dir: Path = Field(description="the model directory, or a release, to serve")
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
    encode_queue: int = Field(16, ge=1, description="uploads at once in a worker; more are answered 503")
    encode_threads: int = Field(1, ge=1, description="torch threads that encode, for each worker")
    max_k: int = Field(100, ge=1, le=10_000, description="the most neighbours a query may ask for")
    max_batch: int = Field(256, ge=1, description="the most queries in one /nearest/batch")
    max_excluded: int = Field(10_000, ge=0, description="the most clip ids in `exclude`")
    stop_grace_s: int = Field(20, ge=0, description="how long requests may go on after SIGTERM, in seconds")
    warm: bool = Field(False, description="load the encoder at start instead of at the first upload")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="what is logged")

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
            expected = first["msg"].removeprefix("Input should be ")
            raise BadSetting(f"got {first['input']!r} for {variable}, expected {expected}") from None
