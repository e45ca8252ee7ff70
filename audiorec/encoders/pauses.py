"""Takes the pauses out of windows: what a clip is, is not how long it is silent before, after or between its sounds.

A clip shorter than a window repeats to fill it, and the silence at its ends repeats with it. Without pauses it fills
the window with the same sound, however much silence it came with.
"""

import torch
from torch import Tensor

from audiorec.audio import SAMPLE_RATE_HZ, SILENT_WINDOW_PEAK

BLOCK_SAMPLES = 64  # 4 ms, which sound or are silent as a whole
GAP_SAMPLES = SAMPLE_RATE_HZ // 10  # between two sounds: up to this is rhythm, and stays
GAP_BLOCKS = GAP_SAMPLES // BLOCK_SAMPLES


def without_pauses(waveform: Tensor, block_samples: int = BLOCK_SAMPLES) -> Tensor:
    """(N, 1, T) -> (N, 1, T'): each row without its pauses, the rest repeated in their place.

    T' is T less what does not fill a block, T >= block_samples. A row without a pause, or without a sound, stays as it
    is. (Defaults, here and below, for TorchScript sees no constants.)
    """
    n, _, n_samples = waveform.shape
    n_blocks = n_samples // block_samples
    blocks = waveform[:, 0, : n_blocks * block_samples].reshape(n, n_blocks, block_samples)
    n_heard = heard(blocks).long().cumsum(1)  # (N, n_blocks): up to a block, itself counted
    wanted = torch.arange(n_blocks, device=waveform.device) % n_heard[:, -1:]  # the loudest is heard, so never % 0
    source = torch.searchsorted(n_heard, wanted + 1)  # the block that is the wanted one of those that are heard
    first_of_row = n_blocks * torch.arange(n, device=waveform.device)[:, None]
    taken = blocks.flatten(0, 1).index_select(0, (source + first_of_row).flatten())
    return taken.view(n, 1, n_blocks * block_samples)


def heard(blocks: Tensor, quietest: float = SILENT_WINDOW_PEAK, gap_blocks: int = GAP_BLOCKS) -> Tensor:
    """(N, n_blocks, block_samples) -> (N, n_blocks) bool: which sound, or lie between two that do, near each other.

    A block is silent when its swing, which an offset does not change, is less than `quietest` of the row's largest.
    """
    n_blocks = blocks.shape[1]
    swing = blocks.amax(2) - blocks.amin(2)  # (N, n_blocks)
    sounds = ~(swing < quietest * swing.amax(1, keepdim=True))  # and not >=: what is no number is heard too
    position = torch.arange(n_blocks, device=blocks.device)
    far = n_blocks + gap_blocks  # from every block: nothing sounds before the first, or after the last
    before = torch.cummax(torch.where(sounds, position, -far), 1)[0]  # the last one that sounds, itself counted
    after = torch.cummin(torch.where(sounds, position, 2 * far).flip(1), 1)[0].flip(1)
    return after - before <= gap_blocks + 1
