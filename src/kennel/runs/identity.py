"""The identity of a run: what stays the same over all its resumes, by which it knows its checkpoints."""

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
"""Recipe keys that a resume may change. The extractor and the sample count may not, because the values of a
validation curve would no longer be comparable."""


def identity(recipe: Recipe, data: str) -> str:
    """Equal for recipes that a resume may exchange, on the set with the fingerprint `data`.

    Unlike `RunDir.fingerprint` it does not depend on `RESUMABLE_KEYS`, such as the budget and the alarms.
    """
    validation = {"metric": "fid", "extra_metrics": (), "patience": None, "every_ticks": 1}
    lasting = recipe.model_copy(
        update={
            "budget": Budget(images=1),
            "alarms": AlarmsConfig(),
            "keep_checkpoints": 1,
            "keep_every_ticks": 0,
            "validation": recipe.validation.model_copy(update=validation),
        }
    )
    return hashlib.blake2b(f"{lasting.fingerprint()}{data}".encode(), digest_size=8).hexdigest()


def identity_of(folder: RunDir) -> str:
    return identity(folder.recipe(), str(folder.about()["data"]["fingerprint"]))
