"""Scores that nothing was measured for."""

from kennel.evaluation.score import Score, ScoreProtocol


def score(metric: str, value: float, **changes: object) -> Score:
    """A score of 4,096 samples by pixels; `changes` are of its protocol."""
    protocol = {
        "extractor": "pixels",
        "weights_sha256": None,
        "dimension": 8,
        "resize": "area mean",
        "logits": None,
        "precision": "float32",
        "images": "a run",
        "sample_count": 4096,
        "available_count": 4096,
        "image_size": (1, 8, 8),
        "reference": "digits",
        "reference_count": 4096,
        "reference_fingerprint": "b1291caeee242b27",
        "reference_size": (1, 8, 8),
        "seed": 0,
        "options": {},
        "notes": (),
        "versions": {},
    }
    return Score(metric=metric, value=value, details={}, protocol=ScoreProtocol(**{**protocol, **changes}))
