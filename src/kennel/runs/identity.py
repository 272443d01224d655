"""What stays as it is as long as a run goes on, and by which its checkpoints are known as its own."""

import hashlib

from kennel.config.alarms import AlarmsConfig
from kennel.config.recipe import Recipe
from kennel.config.steps import Budget
from kennel.runs.run_dir import RunDir

RESUMABLE_KEYS = (
    "budget.",
    "compute.layout:",
    "compute.convolutions:",
    "compute.compile:",
    "validation.metric:",
    "validation.extra_metrics:",
    "validation.patience:",
    "validation.every_ticks:",
    "alarms.",
    "keep_checkpoints:",
    "keep_every_ticks:",
)
"""Keys that may change when a run goes on. The extractor and the count may not: they decide what a value
means, and a curve of two kinds of values would tell of an improvement or a fall that never was."""


def identity(recipe: Recipe, data: str) -> str:
    """Equal for recipes between which a run may change, on the same data; `data` is the set's fingerprint.

    Unlike `RunFolder.fingerprint` it does not move with the budget, the alarms or the metric (`TAKEN`).
    """
    measured = {"metric": "fid", "extra_metrics": (), "patience": None, "every_ticks": 1}
    lasting = recipe.model_copy(
        update={
            "budget": Budget(images=1),
            "alarms": AlarmsConfig(),
            "keep_checkpoints": 1,
            "keep_every_ticks": 0,
            "validation": recipe.validation.model_copy(update=measured),
        }
    )
    return hashlib.blake2b(f"{lasting.fingerprint()}{data}".encode(), digest_size=8).hexdigest()


def identity_of(folder: RunDir) -> str:
    """That of the run in `folder`."""
    return identity(folder.recipe(), str(folder.about()["data"]["fingerprint"]))
