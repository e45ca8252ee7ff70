"""What a generator is, as far as its files say: enough to check a request, to show it, and to address its sounds."""

from pydantic import BaseModel, ConfigDict, Field


class Facts(BaseModel):
    """Written as JSON by the process that has the model, read by those that have not."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(description="what the model was called: its hub id, or the name of its directory")
    kind: str = Field(description="the class of its pipeline, as AudioLDMPipeline")
    licence: str = Field(description="of its weights")
    sample_rate_hz: int
    n_channels: int
    min_s: float
    max_s: float = Field(description="the longest sound that it makes, in seconds")
    default_s: float
    default_steps: int | None = Field(description="of denoising; none for a model that has no such steps")
    max_steps: int | None = Field(description="as many as it was trained with")
    default_guidance: float
    takes_negative: bool = Field(description="whether it reads a negative prompt")
    presets: dict[str, int] = Field(description="their steps, by name")
    adapters: dict[str, str] = Field({}, description="the SHA-256 of each, by name")
    fingerprint: str = Field(description="the SHA-256 of the model's files, as 64 hexadecimal digits")
    arithmetic: str = Field("cpu float32", description="where and in what it computes: another one sounds another way")
