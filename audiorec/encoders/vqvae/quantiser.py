"""The vector quantiser: each vector becomes the nearest of K code words on the unit sphere.

van den Oord, Vinyals & Kavukcuoglu, "Neural discrete representation learning", 2017 (VQ-VAE); code words follow their
vectors by moving averages (appendix A.1), after Yu et al., "Vector-quantized image modeling with improved VQGAN", 2021,
both have unit norm. Left alone, most code words of such a book fall out of use within minutes. Two things keep them:
the book starts from k-means of real vectors, and a code word that few vectors choose is put where vectors are
(Dhariwal et al., "Jukebox", 2020).
"""

from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

DECAY = 0.98  # of the moving averages: about 50 batches
DEAD_SHARE = 0.1  # a code word chosen this much less often than the average one is dead
KMEANS_ROUNDS = 10


class Quantised(NamedTuple):
    """A level of codes, of G books.

    vectors, words: (N, D, H, W) float32, what was quantised and the code words in its place; each of the G equal parts
    of a vector has unit norm. codes: (N, G, H, W) int64, counted over all books: in [0, n_codes).
    """

    vectors: Tensor
    words: Tensor
    codes: Tensor


class Quantiser(nn.Module):
    """Quantises each of n_books equal parts of a vector by a book of its own, n_codes / n_books code words large.

    book: (n_books, n_codes / n_books, dim / n_books) float32, unit norm. counts: how many vectors of a batch choose
    each word, averaged, and sums: their sum.
    """

    book: Tensor
    counts: Tensor
    sums: Tensor

    def __init__(self, n_codes: int, dim: int, n_books: int = 1) -> None:
        super().__init__()
        self.n_codes = n_codes
        book = F.normalize(torch.randn(n_books, n_codes // n_books, dim // n_books), dim=2)
        self.register_buffer("book", book)
        self.register_buffer("counts", torch.ones(book.shape[:2]))
        self.register_buffer("sums", book.clone())

    def forward(self, x: Tensor) -> Quantised:
        """x: (N, D, H, W). Gradients pass from the words to x as if nothing had happened between (straight through)."""
        N, D, H, W = x.shape  # noqa: N806
        G, K, d = self.book.shape  # noqa: N806
        vectors = F.normalize(x.float().reshape(N, G, d, H, W), dim=2)
        if torch.jit.is_scripting():  # type: ignore[attr-defined]
            codes = nearest(flat(vectors), self.book)  # (G, N * H * W)
        else:
            codes = self._nearest_precisely(flat(vectors))
        codes = codes + K * torch.arange(G, device=x.device).unsqueeze(1)
        words = F.embedding(codes, self.book.reshape(G * K, d)).reshape(G, N, H, W, d)
        words = words.permute(1, 0, 4, 2, 3).reshape(N, D, H, W)
        vectors = vectors.reshape(N, D, H, W)
        if self.training:
            words = vectors + (words - vectors).detach()
        return Quantised(vectors, words, codes.reshape(G, N, H, W).transpose(0, 1))

    @torch.jit.unused
    def _nearest_precisely(self, vectors: Tensor) -> Tensor:
        """Half precision cannot tell neighbouring words apart."""
        with torch.autocast(vectors.device.type, enabled=False):
            return nearest(vectors, self.book)

    @torch.jit.unused
    @torch.no_grad()
    def start(self, vectors: Tensor) -> None:
        """Takes the centres of M vectors, as `parts` gives them, for its books: k-means on the sphere."""
        K, M = self.book.shape[1], vectors.shape[1]  # noqa: N806
        book = vectors[:, torch.randint(M, (K,)) if M < K else torch.randperm(M)[:K]]
        for _ in range(KMEANS_ROUNDS):
            sums, counts = self._gathered(vectors, nearest(vectors, book))
            lost = counts == 0
            sums[lost] = self._drawn(vectors)[lost]
            book = F.normalize(sums, dim=2)
        _from_first_process(book)
        self.book.copy_(book)
        self.counts.fill_(1.0)
        self.sums.copy_(book)

    @torch.jit.unused
    @torch.no_grad()
    def update(self, quantised: Quantised) -> None:
        """One step of the moving averages by what a batch chose, in all processes together; then the dead revive."""
        G, K, _ = self.book.shape  # noqa: N806
        vectors = self.parts(quantised.vectors)
        codes = quantised.codes.transpose(0, 1).reshape(G, -1) % K
        sums, counts = self._gathered(vectors, codes)
        if dist.is_initialized():
            dist.all_reduce(sums)
            dist.all_reduce(counts)
        self.counts.lerp_(counts, 1 - DECAY)
        self.sums.lerp_(sums, 1 - DECAY)
        self._revive(vectors)
        self.book.copy_(F.normalize(self.sums, dim=2))

    @torch.jit.unused
    def parts(self, vectors: Tensor) -> Tensor:
        """(N, D, H, W) -> (G, N * H * W, D / G)."""
        N, _, H, W = vectors.shape  # noqa: N806
        return flat(vectors.reshape(N, len(self.book), -1, H, W))

    def _revive(self, vectors: Tensor) -> None:
        """Puts each dead code word on a vector of the batch, and gives it some hundred batches to be chosen."""
        average = self.counts.mean()
        candidates = self._drawn(vectors)
        _from_first_process(candidates)
        dead = self.counts < DEAD_SHARE * average
        self.sums.copy_(torch.where(dead[:, :, None], candidates * average, self.sums))
        self.counts.copy_(torch.where(dead, average, self.counts))

    def _drawn(self, vectors: Tensor) -> Tensor:
        """One of the (G, M, d) vectors at random for each word: (G, K, d). Drawn on the CPU, the same on any device."""
        rows = torch.randint(vectors.shape[1], self.counts.shape).to(vectors.device)
        return vectors.gather(1, rows[:, :, None].expand(-1, -1, vectors.shape[2]))

    def _gathered(self, vectors: Tensor, codes: Tensor) -> tuple[Tensor, Tensor]:
        """(G, M, d) vectors and (G, M) codes in [0, K) -> their sum by word, (G, K, d), and their number, (G, K)."""
        G, K, d = self.book.shape  # noqa: N806
        numbers = (codes + K * torch.arange(G, device=codes.device)[:, None]).reshape(-1)
        sums = vectors.new_zeros(G * K, d).index_add_(0, numbers, vectors.reshape(-1, d))
        return sums.reshape(G, K, d), torch.bincount(numbers, minlength=G * K).to(vectors.dtype).reshape(G, K)


def flat(x: Tensor) -> Tensor:
    """(N, G, d, H, W) -> (G, N * H * W, d)."""
    return x.permute(1, 0, 3, 4, 2).reshape(x.shape[1], -1, x.shape[2])


def nearest(vectors: Tensor, book: Tensor, block_rows: int = 2048) -> Tensor:
    """(G, M, d) and (G, K, d), unit norm -> (G, M) int64: the nearest word on a sphere has the largest product.

    Block by block: the products of a whole batch do not stay in a processor's cache, which takes twice the time.
    """
    words = book.transpose(1, 2)
    blocks = torch.split(vectors, block_rows, dim=1)
    return torch.cat([torch.bmm(block, words).max(dim=2)[1] for block in blocks], dim=1)


def _from_first_process(x: Tensor) -> None:
    if dist.is_initialized():
        dist.broadcast(x, 0)
