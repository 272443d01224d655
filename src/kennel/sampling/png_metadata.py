"""What a generated picture says of itself, in its PNG text."""

from collections.abc import Sequence

import kennel
from kennel.data.image_files import TEACHER_TEXT

SYNTHETIC = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term for media made by a trained algorithm."""


def _text(what: str, run_fingerprint: str, teacher: str | None) -> dict[str, str]:
    taught = {} if teacher is None else {TEACHER_TEXT: teacher}
    return taught | {
        "Software": f"kennel {kennel.__version__}",
        "Description": f"{what} made by a generative adversarial network; not a photograph",
        "DigitalSourceType": SYNTHETIC,
        "kennel:run": run_fingerprint,
    }


def sample_text(
    run_fingerprint: str, images_seen: int, seed: int, teacher: str | None = None
) -> dict[str, str]:
    """The text of one sample; `teacher` is the pretrained network that taught the run."""
    text = _text("An image", run_fingerprint, teacher)
    return text | {"kennel:images_seen": str(images_seen), "kennel:seed": str(seed)}


def grid_text(
    run_fingerprint: str, images_seen: int, seeds: Sequence[int], teacher: str | None = None
) -> dict[str, str]:
    """The text of a grid of samples."""
    text = _text("Images", run_fingerprint, teacher)
    return text | {"kennel:images_seen": str(images_seen), "kennel:seeds": f"{seeds[0]}-{seeds[-1]}"}
