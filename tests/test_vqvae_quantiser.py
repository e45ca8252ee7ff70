"""The quantiser, against what can be worked out by hand, and against collapse."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from audiorec.encoders.vqvae.quantiser import DEAD_SHARE, DECAY, Quantised, Quantiser
from audiorec.training.codes import Usage


def grid(vectors: Tensor) -> Tensor:
    """(M, D) -> (1, D, 1, M)."""
    return vectors.T[None, :, None]


def by_hand(quantiser: Quantiser, vectors: Tensor) -> Tensor:
    """The numbers of the nearest words, a vector at a time: (M, G)."""
    G, K, d = quantiser.book.shape  # noqa: N806
    chosen = [
        [
            g * K + int((quantiser.book[g] - F.normalize(part, dim=0)).square().sum(1).argmin())
            for g, part in enumerate(parts)
        ]
        for parts in vectors.reshape(-1, G, d)
    ]
    return torch.tensor(chosen)


@pytest.mark.parametrize("n_books", [1, 2, 4])
def test_codes_are_of_the_nearest_words(n_books: int) -> None:
    torch.manual_seed(0)
    quantiser, vectors = Quantiser(16, 8, n_books).eval(), torch.randn(50, 8)
    found = quantiser(grid(vectors))
    assert found.codes.shape == (1, n_books, 1, 50)
    torch.testing.assert_close(found.codes[0, :, 0].T, by_hand(quantiser, vectors))
    words = quantiser.book.reshape(16, -1)[found.codes[0, :, 0].T].reshape(50, 8)
    torch.testing.assert_close(found.words[0, :, 0].T, words)
    torch.testing.assert_close(found.vectors.square().sum(), torch.tensor(50.0 * n_books))


def test_length_does_not_matter_and_zero_is_no_trouble() -> None:
    torch.manual_seed(0)
    quantiser, x = Quantiser(16, 8, 2).eval(), torch.randn(2, 8, 3, 5)
    assert torch.equal(quantiser(x).codes, quantiser(7 * x).codes)
    assert bool(torch.isfinite(quantiser(torch.zeros(1, 8, 1, 1)).words).all())


def test_codes_do_not_suffer_from_half_precision() -> None:
    torch.manual_seed(0)
    quantiser, x = Quantiser(512, 8).eval(), torch.randn(4, 8, 10, 10)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = quantiser(x).codes
    assert torch.equal(mixed, quantiser(x).codes)


def test_gradients_pass_straight_through() -> None:
    torch.manual_seed(0)
    quantiser, x = Quantiser(16, 8).train(), torch.randn(2, 8, 3, 5, requires_grad=True)
    weights = torch.randn(2, 8, 3, 5)
    (quantiser(x).words * weights).sum().backward()
    passed = x.grad
    x.grad = None
    (F.normalize(x, dim=1) * weights).sum().backward()
    torch.testing.assert_close(passed, x.grad)
    assert not quantiser.book.requires_grad


def test_a_word_moves_towards_the_vectors_that_choose_it() -> None:
    quantiser = Quantiser(2, 2)
    quantiser.book.copy_(torch.eye(2)[None])
    quantiser.sums.copy_(torch.eye(2)[None])
    vectors = F.normalize(torch.tensor([[2.0, 1.0], [1.0, 3.0]]), dim=1)
    quantiser.update(quantiser(grid(vectors)))
    expected = F.normalize(DECAY * torch.eye(2) + (1 - DECAY) * vectors, dim=1)
    torch.testing.assert_close(quantiser.book[0], expected)
    torch.testing.assert_close(quantiser.counts, torch.ones(1, 2))


def test_a_word_that_nobody_chooses_is_put_where_vectors_are() -> None:
    torch.manual_seed(0)
    quantiser, vectors = Quantiser(4, 2), F.normalize(torch.tensor([[1.0, 0.1], [1.0, 0.0], [1.0, -0.1]]), dim=1)
    quantiser.book.copy_(F.normalize(torch.tensor([[[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.1], [-1.0, -0.1]]]), dim=2))
    quantiser.sums.copy_(quantiser.book)
    n_steps = math.ceil(math.log(DEAD_SHARE) / math.log(DECAY)) + 30
    for _ in range(n_steps):
        quantiser.update(quantiser(grid(vectors)))
    assert bool((quantiser.book[0, :, 0] > 0.9).all())


def test_a_book_begins_at_the_centres_of_clusters() -> None:
    torch.manual_seed(0)
    centres = F.normalize(torch.randn(2, 5, 8), dim=2)
    vectors = F.normalize(centres.repeat(1, 40, 1) + 0.02 * torch.randn(2, 200, 8), dim=2)
    quantiser = Quantiser(20, 16, 2)
    quantiser.start(vectors)
    similarity = torch.bmm(centres, quantiser.book.transpose(1, 2)).amax(dim=2)  # (2, 5): each centre has its word
    assert float(similarity.min()) > 0.98


def test_a_book_larger_than_what_it_begins_from_is_no_trouble() -> None:
    torch.manual_seed(0)
    quantiser = Quantiser(64, 4)
    quantiser.start(F.normalize(torch.randn(1, 10, 4), dim=2))
    torch.testing.assert_close(quantiser.book.norm(dim=2), torch.ones(1, 64))


def test_most_words_stay_in_use_while_what_they_quantise_moves() -> None:
    """Vectors that sit in one corner of the sphere at first and spread: without revival a few words get them all."""
    torch.manual_seed(0)
    quantiser = Quantiser(64, 8)
    quantiser.start(F.normalize(1 + 0.01 * torch.randn(1, 512, 8), dim=2))
    for step in range(400):
        quantiser.update(quantiser(1 + min(3.0, step / 20) * torch.randn(8, 8, 2, 16)))
    usage = Usage(64)
    usage.add(quantiser(1 + 3 * torch.randn(64, 8, 2, 16)).codes)
    assert usage.share > 0.9
    assert usage.perplexity > 32


def test_usage_and_perplexity_by_hand() -> None:
    usage = Usage(8)
    usage.add(torch.tensor([[0, 0], [3, 3]]))
    assert usage.share == 2 / 8
    assert usage.perplexity == pytest.approx(2.0)
    usage.add(torch.arange(8).repeat(1000))
    assert usage.share == 1
    assert usage.perplexity == pytest.approx(8.0, abs=1e-4)
    assert not usage.is_collapsed()


@pytest.mark.parametrize(
    ("codes", "collapsed"),
    [
        pytest.param(torch.zeros(1000), True, id="one word says nothing"),
        pytest.param(torch.arange(4).repeat(250), True, id="four of a hundred"),
        pytest.param(torch.arange(30).repeat(30), False, id="thirty of a hundred"),
        pytest.param(torch.arange(5), False, id="all that five vectors can choose"),
    ],
)
def test_collapse(codes: Tensor, collapsed: bool) -> None:
    usage = Usage(100)
    usage.add(codes.long())
    assert usage.is_collapsed() is collapsed


def test_quantised_is_what_scripted_code_gives_too() -> None:
    torch.manual_seed(0)
    quantiser = Quantiser(16, 8, 2).eval()
    x = torch.randn(2, 8, 3, 5)
    with pytest.warns(DeprecationWarning, match="torch.jit.script"):
        scripted = torch.jit.script(quantiser)
    for one, other in zip(quantiser(x), scripted(x), strict=True):
        assert torch.equal(one, other)
    assert Quantised._fields == ("vectors", "words", "codes")
