"""Which extractors may judge what a pretrained network taught, in one table.

A discriminator that looks through a pretrained network makes the generator match that network's features.
Scores by these features then become better than the pictures do (Kynkäänniemi et al. 2023, "The Role of
ImageNet Classes in Fréchet Inception Distance", arXiv 2203.06026).
"""

from typing import Literal, TypeAlias

Kinship: TypeAlias = Literal["itself", "sibling", "same data", "none"]

ARCHITECTURES = {
    "efficientnet_lite0": "inverted residuals",
    "efficientnet_lite1": "inverted residuals",
    "mobilenet": "inverted residuals",
    "inception": "inception modules",
}
"""The classifiers of ImageNet among the extractors, and what they are built of.

The others saw no label of ImageNet: `dinov2` and `clip` were trained on other pictures or for another task,
`classifier` on the set itself, `pixels` on nothing.
"""
PAPER = "Kynkäänniemi et al. 2023, arXiv 2203.06026"


def kinship(judge: str, teacher: str | None) -> Kinship:
    """How near the extractor `judge` is to the `teacher`: itself, a classifier of the same data built alike
    ("sibling"), one that is built otherwise ("same data"), or neither."""
    if judge == teacher:
        return "itself"
    if teacher is None or judge not in ARCHITECTURES or teacher not in ARCHITECTURES:
        return "none"
    return "sibling" if ARCHITECTURES[judge] == ARCHITECTURES[teacher] else "same data"


def unfair(judge: str, teacher: str | None) -> str | None:
    """Why scores by `judge` of what `teacher` taught are not fair, as a sentence; None where they are."""
    match kinship(judge, teacher):
        case "itself":
            return f"{teacher} taught this generator: its scores flatter it ({PAPER})."
        case "sibling":
            return (
                f"{teacher} taught this generator, and {judge} is its sibling (classifiers of ImageNet, both "
                f"of {ARCHITECTURES[judge]}): scores by {judge} flatter it too ({PAPER})."
            )
        case "same data":
            return (
                f"{teacher} taught this generator, and {judge} was also trained on ImageNet: scores by "
                f"{judge} may flatter it ({PAPER})."
            )
        case _:
            return None
