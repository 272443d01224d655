from pathlib import Path

import numpy as np
import pytest

import kennel.evaluation.metrics.inception_score
from kennel.errors import JudgementError
from kennel.evaluation.metrics.inception_score import inception_score


def plain(logits: np.ndarray, splits: int, seed: int) -> tuple[float, float]:
    """Equation by equation, as torch-fidelity defines the parts."""
    logits = logits[np.random.RandomState(seed).permutation(len(logits))].astype(np.float64)
    scores = []
    for part in range(splits):
        chunk = logits[part * len(logits) // splits : (part + 1) * len(logits) // splits]
        conditional = np.exp(chunk - chunk.max(1, keepdims=True))
        conditional /= conditional.sum(1, keepdims=True)
        marginal = conditional.mean(0, keepdims=True)
        scores.append(np.exp((conditional * (np.log(conditional) - np.log(marginal))).sum(1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


@pytest.mark.parametrize(("count", "splits"), [(100, 10), (103, 10), (57, 4), (20, 1), (10, 10)])
def test_it_equals_the_plain_implementation(count: int, splits: int) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (count, 12)).astype(np.float32)
    found = inception_score(logits, splits, 2020)
    assert (found.mean, found.deviation) == pytest.approx(plain(logits, splits, 2020), rel=1e-12)


def test_blocks_change_nothing_and_logits_may_be_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logits = np.random.default_rng(0).normal(0, 3, (103, 12)).astype(np.float32)
    np.save(tmp_path / "logits.npy", logits)
    monkeypatch.setattr(kennel.evaluation.metrics.inception_score, "BLOCK", 7)
    found = inception_score(np.load(tmp_path / "logits.npy", mmap_mode="r"), 4)
    assert (found.mean, found.deviation) == pytest.approx(plain(logits, 4, 2020), rel=1e-12)


def test_equal_logits_score_1() -> None:
    found = inception_score(np.zeros((50, 7)), 5)
    assert found.mean == pytest.approx(1)
    assert found.deviation == pytest.approx(0)


def test_certain_and_evenly_spread_classes_score_their_number() -> None:
    logits = np.tile(np.eye(8) * 1000, (20, 1))
    assert inception_score(logits, 1).mean == pytest.approx(8, rel=1e-9)


def test_certain_and_all_one_class_scores_1() -> None:
    logits = np.tile(np.eye(8)[:1] * 1000, (20, 1))
    assert inception_score(logits, 2).mean == pytest.approx(1)


def test_a_set_sorted_by_class_is_shuffled_first() -> None:
    logits = np.repeat(np.eye(4) * 100, 50, axis=0)
    assert inception_score(logits, 4, shuffle_seed=None).mean == pytest.approx(1)
    assert inception_score(logits, 4).mean > 3.5


def test_what_cannot_be_scored_is_refused_in_a_sentence() -> None:
    with pytest.raises(JudgementError, match="3 images cannot be split into 10 parts"):
        inception_score(np.zeros((3, 5)))
    with pytest.raises(JudgementError, match="NaN"):
        inception_score(np.full((20, 5), np.nan))
