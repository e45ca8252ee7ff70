"""The VQ-VAE's shapes and sizes, its loss, and that it learns."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from trainings import TINY, log_mels

from audiorec.encoders.vqvae.config import PRESETS, VQVAEConfig
from audiorec.encoders.vqvae.model import VQVAE, Scale


def mels(n: int, n_frames: int = 257, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(log_mels(n, n_frames, seed=seed))


def test_the_reference_is_what_it_is_said_to_be() -> None:
    model = VQVAE(PRESETS["reference"]).eval()
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(10.1e6, rel=0.005)
    with torch.no_grad():
        top, bottom = model.encode(mels(1))
    assert top.codes.shape == (1, 1, 1, 23)
    assert bottom.codes.shape == (1, 1, 19, 63)
    assert (top.words.shape[1], bottom.words.shape[1]) == (64, 64)
    assert (model.top.quantiser.n_codes, model.bottom.quantiser.n_codes) == (64, 512)


@pytest.mark.parametrize("config", [TINY, *PRESETS.values()], ids=["tiny", *PRESETS])
@pytest.mark.parametrize("n_frames", [257, 258, 131])
def test_grids_are_what_the_config_says(config: VQVAEConfig, n_frames: int) -> None:
    model, x = VQVAE(config).eval(), mels(2, n_frames)
    with torch.no_grad():
        top, bottom = model.encode(x)
        again = model.reconstruct(x)
    assert top.codes.shape[2:] == config.top_grid((80, n_frames))
    assert bottom.codes.shape[2:] == config.bottom_grid((80, n_frames))
    assert top.codes.shape[1] == config.n_top_books
    assert again.shape == x.shape
    assert bool(torch.isfinite(again).all())


def test_scale_is_mean_and_deviation_of_each_band() -> None:
    x = mels(5)
    x[:, 7] = -13.8  # a band that nothing ever happens in
    scale = Scale()
    scale.fit(x)
    scaled = scale(x)
    others = [band for band in range(80) if band != 7]
    torch.testing.assert_close(scaled[:, others].mean(dim=(0, 2)), torch.zeros(79), atol=1e-5, rtol=0)
    torch.testing.assert_close(scaled[:, others].std(dim=(0, 2)), torch.ones(79), atol=1e-2, rtol=0)
    assert float(scaled[:, 7].abs().max()) < 1e-2
    torch.testing.assert_close(scale.inverse(scaled), x, atol=1e-4, rtol=0)


@torch.no_grad()
def test_loss_is_the_sum_of_its_parts() -> None:
    torch.manual_seed(0)
    model, x = VQVAE(TINY).eval(), mels(3)
    model.top.scale.fit(x)
    loss, top, bottom = model(x, 0.25)
    made = model.decoder(top.words, bottom.words)
    target = model.top.scale(x)[:, : made.shape[1], : made.shape[2]]
    assert float(loss.reconstruction) == pytest.approx(float((made - target).abs().mean()))
    cosine = (top.vectors * top.words).sum(dim=1)
    assert float(loss.top_commitment) == pytest.approx(float((2 * TINY.n_top_books - 2 * cosine).mean()), rel=1e-4)
    parts = loss.reconstruction + 0.25 * (loss.top_commitment + loss.bottom_commitment)
    assert float(loss.total) == pytest.approx(float(parts))
    assert float(model(x, 0.0)[0].total) == pytest.approx(float(loss.reconstruction))


def test_top_alone_hears_nothing_of_the_bottom() -> None:
    """With every row decoded from the top codes alone, the bottom level gets no gradient but its commitment's."""
    torch.manual_seed(0)
    model, x = VQVAE(TINY), mels(4)
    model.top.scale.fit(x)
    gradients = {}
    for n_top_alone in (0, 4):
        model.zero_grad()
        model(x, 0.0, n_top_alone)[0].total.backward()
        gradients[n_top_alone] = float(model.bottom.to_code[0].weight.grad.abs().sum())
    assert gradients[4] == 0 < gradients[0]


def test_it_learns() -> None:
    torch.manual_seed(0)
    model, x = VQVAE(TINY).train(), mels(4, 65)
    x[:] = x[:, :, :1] + 0.1 * x[:1]  # bands that stay: something to learn
    model.top.scale.fit(x)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(40):
        loss, top, bottom = model(x, 0.25)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        model.top.quantiser.update(top)
        model.bottom.quantiser.update(bottom)
        losses.append(float(loss.reconstruction.detach()))
    assert np.mean(losses[-5:]) < 0.7 * losses[0]


@pytest.mark.parametrize(
    "fields", [{"n_top_codes": 1}, {"channels": 0}, {"n_blocks": -1}, {"colour": 3}, {"n_stem": 1.5}]
)
def test_a_config_out_of_range_is_refused(fields: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        VQVAEConfig.model_validate(fields)


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"code_dim": 64, "n_top_books": 3}, id="books that do not divide a vector"),
        pytest.param({"n_top_codes": 511, "n_top_books": 2}, id="books that do not divide the codes"),
        pytest.param({"n_bottom_codes": 4, "n_bottom_books": 4}, id="books of one word"),
        pytest.param({"channels": 2, "n_stem": 3}, id="channels that cannot be halved"),
        pytest.param({"top_kernel_bands": 40}, id="a kernel that does not fit"),
    ],
)
def test_a_config_that_contradicts_itself_is_refused(fields: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="expected"):
        VQVAEConfig.model_validate(fields)
