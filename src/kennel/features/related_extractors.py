"""Which extractors give biased scores for a generator trained with a pretrained network.

A discriminator on top of a pretrained network makes the generator match that network's features. Scores by
these features then improve more than the images do (Kynkäänniemi et al. 2023, "The Role of ImageNet Classes
in Fréchet Inception Distance", arXiv 2203.06026).
"""

from typing import Literal, TypeAlias

Relation: TypeAlias = Literal["itself", "sibling", "same data", "none"]

ARCHITECTURES = {
    "efficientnet_lite0": "inverted residuals",
    "efficientnet_lite1": "inverted residuals",
    "mobilenet": "inverted residuals",
    "inception": "inception modules",
}
"""The extractors that are ImageNet classifiers, and their building blocks.

The others used no ImageNet labels: `dinov2` and `clip` were trained on other images or for another task,
`classifier` on the set itself, and `pixels` is not trained.
"""
PAPER = "Kynkäänniemi et al. 2023, arXiv 2203.06026"


def relation(judge: str, teacher: str | None) -> Relation:
    """The relation of the extractor `judge` to the `teacher`: the same, an ImageNet classifier of the same
    building blocks ("sibling") or of others ("same data"), or none."""
    if judge == teacher:
        return "itself"
    if teacher is None or judge not in ARCHITECTURES or teacher not in ARCHITECTURES:
        return "none"
    return "sibling" if ARCHITECTURES[judge] == ARCHITECTURES[teacher] else "same data"


def unfair(judge: str, teacher: str | None) -> str | None:
    """Why scores by `judge` are biased for a generator trained with `teacher`, as a sentence; None if they
    are not."""
    match relation(judge, teacher):
        case "itself":
            return f"{teacher} was used in this generator's training, so its scores are too good ({PAPER})."
        case "sibling":
            return (
                f"{teacher} was used in this generator's training, and {judge} is its sibling (both are "
                f"ImageNet classifiers of {ARCHITECTURES[judge]}): scores by {judge} are too good as well "
                f"({PAPER})."
            )
        case "same data":
            return (
                f"{teacher} was used in this generator's training, and {judge} was also trained on ImageNet: "
                f"scores by {judge} may be too good ({PAPER})."
            )
        case _:
            return None
