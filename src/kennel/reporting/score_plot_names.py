"""Which pictures a judgement has, by name: known without importing what draws them."""

from collections.abc import Iterable

DRAWN_FROM = {
    "memorisation": ("memorisation", "mifid"),
    "distances": ("memorisation", "mifid"),
    "precision_recall": ("prd_f8", "prd_f1_8"),
    "fid_by_class": ("fid_by_class",),
}
"""The pictures by name, and the metrics that each of them needs one of."""


def pictures_of(metrics: Iterable[str]) -> list[str]:
    """The names of the pictures that judgements by these metrics have."""
    given = set(metrics)
    return [name for name, needs in DRAWN_FROM.items() if given.intersection(needs)]
