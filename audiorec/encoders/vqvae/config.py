"""The shapes of a VQ-VAE-2, and the presets."""

from pydantic import BaseModel, ConfigDict, Field, model_validator

from audiorec.audio import CLIP_SAMPLES
from audiorec.audio.mel import HOP_SAMPLES, N_MELS

Grid = tuple[int, int]  # bands, frames


class VQVAEConfig(BaseModel):
    """Every convolution that changes the size has no padding: no code is made of what is not there."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    stem_kernel_bands: int = Field(8, ge=1, le=80)  # of the convolutions from the spectrogram to the bottom level
    stem_kernel_frames: int = Field(4, ge=1, le=80)
    stem_stride_bands: int = Field(4, ge=1, le=16)
    stem_stride_frames: int = Field(2, ge=1, le=16)
    n_stem: int = Field(1, ge=1, le=4)
    top_kernel_bands: int = Field(19, ge=1, le=80)  # of the convolution from the bottom to the top level
    top_kernel_frames: int = Field(1, ge=1, le=80)
    top_stride: int = Field(1, ge=1, le=16)  # in both directions
    channels: int = Field(64, ge=2, le=4096)
    block_channels: int = Field(32, ge=1, le=4096)
    n_blocks: int = Field(1, ge=0, le=32)  # residual blocks at each level
    code_dim: int = Field(64, ge=2, le=4096)
    n_top_codes: int = Field(512, ge=2, le=65536)  # in all books together
    n_top_books: int = Field(1, ge=1, le=64)
    n_bottom_codes: int = Field(512, ge=2, le=65536)
    n_bottom_books: int = Field(1, ge=1, le=64)
    knows_bands: bool = True  # a bottom code may depend on its place in frequency

    @model_validator(mode="after")
    def _check(self) -> "VQVAEConfig":
        for n_codes, n_books in ((self.n_top_codes, self.n_top_books), (self.n_bottom_codes, self.n_bottom_books)):
            if self.code_dim % n_books or n_codes % n_books or n_codes < 2 * n_books:
                raise ValueError(f"{n_books} books of {n_codes} codes of {self.code_dim} numbers, expected equal parts")
        if self.channels >> (self.n_stem - 1) < 1:
            raise ValueError(
                f"{self.channels} channels, expected so many that they can be halved {self.n_stem - 1} times"
            )
        grid = self.top_grid((N_MELS, CLIP_SAMPLES // HOP_SAMPLES))
        if min(grid) < 1:
            raise ValueError(f"a window of {grid[0]} x {grid[1]} top codes, expected some: smaller kernels")
        return self

    def bottom_grid(self, spectrogram: Grid) -> Grid:
        """How many bottom codes there are in frequency and in time; less than 1 where the spectrogram is too small."""
        for _ in range(self.n_stem):
            spectrogram = _shrunk(spectrogram, self.stem_kernel, self.stem_stride)
        return spectrogram

    def top_grid(self, spectrogram: Grid) -> Grid:
        return _shrunk(self.bottom_grid(spectrogram), self.top_kernel, (self.top_stride, self.top_stride))

    @property
    def stem_kernel(self) -> Grid:
        return self.stem_kernel_bands, self.stem_kernel_frames

    @property
    def stem_stride(self) -> Grid:
        return self.stem_stride_bands, self.stem_stride_frames

    @property
    def top_kernel(self) -> Grid:
        return self.top_kernel_bands, self.top_kernel_frames


def _shrunk(size: Grid, kernel: Grid, stride: Grid) -> Grid:
    return (size[0] - kernel[0]) // stride[0] + 1, (size[1] - kernel[1]) // stride[1] + 1


PRESETS = {
    "default": VQVAEConfig(),
    "reference": VQVAEConfig(  # 10.1 M parameters: 64 top codes over 1 x 23, 512 bottom codes over 19 x 63 positions
        stem_kernel_bands=3,
        stem_kernel_frames=3,
        stem_stride_bands=2,
        stem_stride_frames=2,
        n_stem=2,
        top_kernel_bands=19,
        top_kernel_frames=19,
        top_stride=2,
        channels=128,
        block_channels=120,
        n_blocks=2,
        n_top_codes=64,
        knows_bands=False,
    ),
}
