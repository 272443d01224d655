"""What the scores must do whatever the pictures are: drawn pictures, judged from their pixels to the end."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest
import scipy.ndimage
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kennel.evaluation.judge import Evaluator
from kennel.evaluation.metrics.base import METRICS, MetricResult
from kennel.evaluation.metrics.context import FeatureSide, MetricContext, MetricSettings
from kennel.evaluation.score import Score
from kennel.features.base import Extracted, Extractor
from kennel.features.moments import moments
from kennel.features.pixels import PixelCells
from kennel.shapes import Pixels
from pictures import Pictures

PixelArray = npt.NDArray[np.uint8]
KINDS = 5
SIZE = 16
SEEDS = st.integers(0, 10_000)
DRAWS = settings(max_examples=4, deadline=None, derandomize=True)
"""What is true of samples is true of most: the same ones are drawn each time."""
FEW_DRAWS = settings(DRAWS, max_examples=2)
"""For what takes a second or more a draw."""


class RandomNetwork(Extractor):
    """Two random convolutions: texture and colour in 24 numbers, and no weights file."""

    name, dimension, resize = "random network", 24, "none"

    def __init__(self) -> None:
        random = torch.Generator().manual_seed(0)
        self.first = torch.randn(12, 3, 3, 3, generator=random) / 27**0.5
        self.second = torch.randn(24, 12, 3, 3, generator=random) / 108**0.5

    def extract(self, pixels: Pixels) -> Extracted:
        shown = pixels.float() / 64 - 2
        seen = torch.nn.functional.conv2d(shown, self.first, padding=1).relu()
        seen = torch.nn.functional.conv2d(seen, self.second, stride=2, padding=1).relu()
        return Extracted(seen.mean((2, 3)))


EXTRACTORS = pytest.mark.parametrize("extractor", [PixelCells(), RandomNetwork()], ids=lambda one: one.name)


def drawn(count: int, seed: int, kinds: Sequence[int] = range(KINDS)) -> PixelArray:
    """Pictures of some kinds in turn: each a blob of its colour, at its place, on a ramp of its direction."""
    world, random = np.random.default_rng(77), np.random.default_rng(seed)
    colours, grounds = world.uniform(20, 235, (2, KINDS, 3))
    places, directions = world.uniform(0.25, 0.75, (KINDS, 2)), world.normal(size=(KINDS, 2))
    kind = np.asarray(kinds)[np.arange(count) % len(kinds)]
    rows, columns = (np.mgrid[0:SIZE, 0:SIZE] + 0.5) / SIZE
    place = places[kind] + random.normal(0, 0.06, (count, 2))
    width = random.uniform(0.12, 0.22, count)
    square = (rows - place[:, 0, None, None]) ** 2 + (columns - place[:, 1, None, None]) ** 2
    blob = np.exp(-square / width[:, None, None] ** 2)[:, None]
    slope = directions[kind] + random.normal(0, 0.2, (count, 2))
    ramp = slope[:, 0, None, None] * (rows - 0.5) + slope[:, 1, None, None] * (columns - 0.5)
    colour = (colours[kind] + random.normal(0, 12, (count, 3)))[:, :, None, None]
    ground = grounds[kind][:, :, None, None] + 50 * ramp[:, None]
    texture = random.normal(0, 1, (count, 3, SIZE, SIZE))
    return np.clip(blob * colour + (1 - blob) * ground + texture, 0, 255).astype(np.uint8)


def judged(
    images: PixelArray,
    reference: PixelArray,
    extractor: Extractor,
    metrics: Sequence[str],
    batch: int = 64,
    **chosen: float,
) -> dict[str, Score]:
    evaluator = Evaluator(Pictures(reference), extractor, cached=False, batch=batch)
    found = evaluator.judge(
        Pictures(images), metrics, settings=MetricSettings(**{"intervals": False, **chosen})
    )
    return {judgement.metric: judgement for judgement in found}


def values(
    images: PixelArray, reference: PixelArray, extractor: Extractor, metrics: Sequence[str], batch: int = 64
) -> dict[str, float]:
    found = judged(images, reference, extractor, metrics, batch)
    return {name: judgement.value for name, judgement in found.items()}


def fids(stages: list[PixelArray], reference: PixelArray, extractor: Extractor) -> list[float]:
    return [values(stage, reference, extractor, ["fid"])["fid"] for stage in stages]


@EXTRACTORS
@DRAWS
@given(seed=SEEDS)
def test_fid_rises_with_every_step_of_blur(extractor: Extractor, seed: int) -> None:
    reference, images = drawn(120, seed), drawn(120, seed + 1)
    blurred = [
        scipy.ndimage.gaussian_filter(images, (0, 0, sigma, sigma), mode="nearest") if sigma else images
        for sigma in (0, 1, 2, 4, 8)
    ]
    found = fids(blurred, reference, extractor)
    assert found == sorted(found)
    assert found[-1] > 2 * found[0]


@EXTRACTORS
@DRAWS
@given(seed=SEEDS)
def test_fid_rises_with_every_step_of_noise(extractor: Extractor, seed: int) -> None:
    reference, images = drawn(120, seed), drawn(120, seed + 1)
    noise = np.random.default_rng(seed + 2).normal(size=images.shape)
    noisy = [np.clip(images + step * noise, 0, 255).astype(np.uint8) for step in (0, 10, 20, 40, 80)]
    found = fids(noisy, reference, extractor)
    assert found == sorted(found)
    assert found[-1] > 2 * found[0]


@EXTRACTORS
@DRAWS
@given(seed=SEEDS)
def test_dropped_modes_lower_recall_and_coverage_and_not_precision(extractor: Extractor, seed: int) -> None:
    reference = drawn(200, seed)
    steps = [
        values(
            drawn(200, seed + 1, range(kinds)),
            reference,
            extractor,
            ["precision", "recall", "coverage"],
        )
        for kinds in (5, 3, 1)
    ]
    for name in ("recall", "coverage"):
        whole, some, one = (step[name] for step in steps)
        assert whole > some > one, name
    # Of the modes that are left a share of kinds / 5 of the reference can be covered, and no more of it.
    assert steps[1]["coverage"] <= 0.6 + 0.02
    assert steps[2]["coverage"] <= 0.2 + 0.02
    # A share of 200 images has a standard error of 0.035 at most: 3 of two of them.
    assert steps[1]["precision"] > steps[0]["precision"] - 0.15
    assert steps[2]["precision"] > steps[0]["precision"] - 0.15


@EXTRACTORS
@FEW_DRAWS
@given(seed=SEEDS)
def test_copies_of_training_images_have_a_good_fid_and_are_punished_by_mifid(
    extractor: Extractor, seed: int
) -> None:
    training, fresh = drawn(160, seed), drawn(80, seed + 1)
    names = ["fid", "mifid", "memorisation"]
    real = judged(fresh, training, extractor, names)
    # The threshold has to suit the extractor: half of how near new images are.
    epsilon = real["mifid"].details["distance"] / 2
    real = judged(fresh, training, extractor, names, epsilon=epsilon)
    assert real["mifid"].value == pytest.approx(real["fid"].value, rel=1e-12)
    assert real["memorisation"].value < 0.2
    # The kinds come in turn, so that all kinds are among them as often as in the training set.
    copies = training[:80]
    found = judged(copies, training, extractor, names, epsilon=epsilon)
    assert found["memorisation"].value == 1.0
    assert found["mifid"].details["distance"] == 0.0
    assert found["fid"].value < real["fid"].value, "FID takes the thief for the better painter"
    assert found["mifid"].value > 1e9 * real["mifid"].value
    # Brighter by one level of 255: no copies by their bytes, and punished all the same.
    brighter = np.minimum(copies, 254) + np.uint8(1)
    found = judged(brighter, training, extractor, names, epsilon=epsilon)
    assert found["mifid"].value > 100 * real["mifid"].value


def test_of_new_real_images_about_one_in_a_hundred_is_suspected() -> None:
    # Among 300 the nearest 1% are 3 or 4, who come in pairs: 1.5% is expected, known to 0.3% by 12 draws.
    shares = []
    for seed in range(12):
        found = values(drawn(300, 2 * seed), drawn(300, 2 * seed + 1), RandomNetwork(), ["memorisation"])
        shares.append(found["memorisation"])
    assert 0.005 < np.mean(shares) < 0.025


@EXTRACTORS
@FEW_DRAWS
@given(seed=SEEDS)
def test_a_set_against_itself_is_perfect(extractor: Extractor, seed: int) -> None:
    own = drawn(60, seed)
    names = ["fid", "kid", "sliced_wasserstein", "swd", "precision", "recall", "f1", "coverage"]
    found = values(own, own, extractor, [*names, "diversity", "prd", "memorisation", "vendi"])
    features = extractor.extract(torch.from_numpy(own)).features.numpy().astype(np.float64)
    assert 0 <= found["fid"] < 1e-9 * features.var(0).sum()
    for name in ("sliced_wasserstein", "swd"):
        assert found[name] == 0.0
    for name in ("precision", "recall", "f1", "coverage", "diversity", "memorisation"):
        assert found[name] == 1.0
    for name in ("prd_f8", "prd_f1_8"):
        assert found[name] == pytest.approx(1, abs=1e-9)
    # No image is paired with itself within a side, and is across: what is left of KID is below 0.
    kernel = (features @ features.T / features.shape[1] + 1) ** 3
    itself = np.trace(kernel) / 60
    others = (kernel.sum() - np.trace(kernel)) / (60 * 59)
    assert found["kid"] == pytest.approx(2 * (others - itself) / 60, rel=1e-6)
    assert found["kid"] < 0


@EXTRACTORS
@DRAWS
@given(seed=SEEDS, counts=st.sampled_from([(60, 60), (50, 70)]))
def test_distances_know_no_sides_and_precision_and_recall_change_places(
    extractor: Extractor, seed: int, counts: tuple[int, int]
) -> None:
    one, other = drawn(counts[0], seed), drawn(counts[1], seed + 1, range(4))
    names = ["fid", "kid", "sliced_wasserstein", "swd", "diversity", "precision", "recall", "f1"]
    there, back = values(one, other, extractor, names), values(other, one, extractor, names)
    assert there["fid"] == pytest.approx(back["fid"], rel=1e-9)
    assert there["sliced_wasserstein"] == pytest.approx(back["sliced_wasserstein"], rel=1e-12)
    if counts[0] == counts[1]:
        # At unequal counts KID and these draw other rows of the larger side.
        assert there["kid"] == pytest.approx(back["kid"], rel=1e-9)
        assert there["swd"] == pytest.approx(back["swd"], rel=1e-9)
        assert there["diversity"] == pytest.approx(1 / back["diversity"], rel=1e-12)
        assert (there["precision"], there["recall"]) == (back["recall"], back["precision"])
        assert there["f1"] == back["f1"]


NAMES = ("fid", "mifid", "kid", "precision", "recall", "density", "coverage", "sliced_wasserstein", "swd")


@DRAWS
@given(seed=SEEDS, batch=st.integers(1, 70))
def test_the_batch_size_changes_nothing(seed: int, batch: int) -> None:
    images, reference = drawn(50, seed), drawn(60, seed + 1)
    plain = values(images, reference, PixelCells(), NAMES)
    assert values(images, reference, PixelCells(), NAMES, batch) == plain, (
        "a cell's mean knows one image only"
    )
    # A convolution may sum in another order in another batch: some 1e-7 of each feature, which can move no
    # distance by more than some 1e-5 of it; shares stand unless an image lies that near a border.
    plain = values(images, reference, RandomNetwork(), NAMES)
    assert values(images, reference, RandomNetwork(), NAMES, batch) == pytest.approx(plain, rel=1e-4)


INVARIANT = (
    *("fid", "mifid", "kid", "precision", "recall", "f1", "density", "coverage"),
    *("fid_infinity", "diversity", "vendi"),
)


@DRAWS
@given(seed=SEEDS)
def test_turning_the_features_and_shuffling_them_changes_nothing(seed: int) -> None:
    network = RandomNetwork()
    images, reference = (
        network.extract(torch.from_numpy(drawn(100, seed + side))).features.numpy().astype(np.float64)
        for side in (0, 1)
    )
    random = np.random.default_rng(seed)
    context = np.linalg.qr(random.normal(size=(24, 24)))[0]
    shuffle = random.permutation(24)

    def found(name: str, one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> MetricResult:
        return METRICS[name].compute(
            MetricContext(FeatureSide(one), FeatureSide(other), moments(other), "made-up")
        )

    for name in INVARIANT:
        plain = found(name, images, reference)
        for one, other in (
            (images @ context, reference @ context),
            (images[:, shuffle], reference[:, shuffle]),
        ):
            moved = found(name, one, other)
            assert moved.value == pytest.approx(plain.value, rel=1e-7), name
            if plain.interval is not None:
                assert moved.interval == pytest.approx(plain.interval, rel=1e-3, abs=1e-9), name
