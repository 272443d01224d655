"""What a metric is: a function from the evidence of one feature pass to a finding, under a name."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from kennel.errors import JudgementError
from kennel.features.moments import Float64Array, FloatArray, Moments, moments
from kennel.metrics.frechet import frechet_distance
from kennel.metrics.inception_score import SHUFFLE_SEED, SPLITS, inception_score
from kennel.metrics.memorisation import EPSILON, mifid, nearest_distances
from kennel.registry import Registry


@dataclass(frozen=True)
class Settings:
    """What the caller may set: the splits of the Inception Score, MiFID's epsilon, whether to measure the
    floor between halves of the reference, and the seed that halves it."""

    splits: int = SPLITS
    epsilon: float = EPSILON
    floor: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Floor:
    """Two disjoint random halves of the reference against each other: what perfection scores at that count.

    `fid` between them, `distance` of the one to the other as MiFID measures it, `count` images a side.
    """

    fid: float
    distance: float
    count: int


@dataclass(frozen=True)
class Evidence:
    """One feature pass over the images and the reference; what several metrics need is computed once.

    `fakes` float32 (count, dimension); `logits` float32 (count, classes) or None; `reference` float32
    (reference count, dimension), perhaps memory-mapped.
    """

    fakes: FloatArray
    logits: FloatArray | None
    reference: FloatArray
    reference_moments: Moments
    extractor: str
    settings: Settings = field(default_factory=Settings)

    @cached_property
    def fid(self) -> float:
        """The Fréchet distance between images and reference."""
        return frechet_distance(moments(self.fakes), self.reference_moments)

    @cached_property
    def distances(self) -> Float64Array:
        """Of each image, the cosine distance to the nearest reference image."""
        return nearest_distances(self.fakes, self.reference)

    @cached_property
    def floor(self) -> Floor | None:
        """The real-v-real floor at the images' count, or at half the reference where that is less; None
        where the settings do not ask or the reference has fewer than 4 images."""
        count = min(len(self.fakes), len(self.reference) // 2)
        if not self.settings.floor or count < 2:
            return None
        order = np.random.default_rng([self.settings.seed, len(self.reference)]).permutation(
            len(self.reference)
        )
        one = np.asarray(self.reference[np.sort(order[:count])])
        other = np.asarray(self.reference[np.sort(order[count : 2 * count])])
        distance = float(nearest_distances(one, other).mean())
        return Floor(frechet_distance(moments(one), moments(other)), distance, count)


@dataclass(frozen=True)
class Finding:
    """A metric's value, its interval where one means something, its parts, and what it adds to the
    protocol."""

    value: float
    details: dict[str, Any]
    interval: tuple[float, float] | None = None
    protocol: dict[str, Any] = field(default_factory=dict)


Metric: TypeAlias = Callable[[Evidence], Finding]
METRICS: Registry[Metric] = Registry("metric")
ALIASES = {"is": "inception_score"}


def metric_name(name: str) -> str:
    """The registered name for what the user wrote; raises `UnknownNameError` for an unknown one."""
    name = ALIASES.get(name.lower(), name.lower())
    METRICS[name]
    return name


@METRICS.register("fid")
def judge_fid(evidence: Evidence) -> Finding:
    """The Fréchet inception distance; lower is better, and only at equal counts."""
    details: dict[str, Any] = {}
    if evidence.floor is not None:
        details = {"real_v_real": evidence.floor.fid, "real_v_real_count": evidence.floor.count}
    return Finding(evidence.fid, details)


@METRICS.register("mifid")
def judge_mifid(evidence: Evidence) -> Finding:
    """Kaggle's memorisation-informed FID, with its parts; lower is better."""
    scored = mifid(evidence.fid, float(evidence.distances.mean()), evidence.settings.epsilon)
    details: dict[str, Any] = {
        "fid": scored.fid,
        "distance": scored.distance,
        "epsilon": scored.epsilon,
        "penalty": scored.penalty,
        "distance_quantiles": [
            float(part) for part in np.quantile(evidence.distances, (0, 0.05, 0.5, 0.95, 1))
        ],
    }
    if evidence.floor is not None:
        details |= {
            "held_out_distance": evidence.floor.distance,
            "held_out_count": evidence.floor.count,
        }
    protocol = {
        "epsilon": scored.epsilon,
        "direction": "mean over the images of the minimum over the reference",
    }
    return Finding(scored.value, details, protocol=protocol)


@METRICS.register("inception_score")
def judge_inception_score(evidence: Evidence) -> Finding:
    """The Inception Score of the images alone; higher is better."""
    if evidence.logits is None:
        raise JudgementError(
            f"the {evidence.extractor} extractor has no logits, which the Inception Score needs: "
            "use --extractor inception or mobilenet, or leave it out of --metrics"
        )
    score = inception_score(evidence.logits, evidence.settings.splits)
    details = {"deviation": score.deviation, "classes": int(evidence.logits.shape[1])}
    return Finding(score.mean, details, protocol={"splits": score.splits, "shuffle_seed": SHUFFLE_SEED})
