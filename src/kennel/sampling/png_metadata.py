"""PNG text of generated images."""

from collections.abc import Sequence

import kennel
from kennel.data.image_files import SOURCE_TYPE_TEXT, SYNTHETIC, TEACHER_TEXT


def _text(what: str, run_fingerprint: str, images_seen: int, teacher: str | None) -> dict[str, str]:
    return ({} if teacher is None else {TEACHER_TEXT: teacher}) | {
        "Software": f"kennel {kennel.__version__}",
        "Description": f"{what} made by a generative adversarial network; not a photograph",
        SOURCE_TYPE_TEXT: SYNTHETIC,
        "kennel:run": run_fingerprint,
        "kennel:images_seen": str(images_seen),
    }


def sample_text(
    run_fingerprint: str, images_seen: int, seed: int, teacher: str | None = None
) -> dict[str, str]:
    """Returns the text of one sample; `teacher` is the pretrained network in the discriminator."""
    return _text("An image", run_fingerprint, images_seen, teacher) | {"kennel:seed": str(seed)}


def grid_text(
    run_fingerprint: str, images_seen: int, seeds: Sequence[int], teacher: str | None = None
) -> dict[str, str]:
    text = _text("Images", run_fingerprint, images_seen, teacher)
    return text | {"kennel:seeds": f"{seeds[0]}-{seeds[-1]}"}
