"""Names of the pictures of judgements, in a module that does not import matplotlib."""

from collections.abc import Iterable

DRAWN_FROM = {
    "memorisation": ("memorisation", "mifid"),
    "distances": ("memorisation", "mifid"),
    "precision_recall": ("prd_f8", "prd_f1_8"),
    "fid_by_class": ("fid_by_class",),
}
"""Pictures by name, each with the metrics that it can be drawn from."""


def pictures_of(metrics: Iterable[str]) -> list[str]:
    """Returns the names of the pictures that can be drawn from these metrics."""
    given = set(metrics)
    return [name for name, needs in DRAWN_FROM.items() if given.intersection(needs)]
