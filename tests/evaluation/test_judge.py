import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from kennel.data.image_files import NpzSet
from kennel.errors import JudgementError, RankError, UnknownNameError
from kennel.evaluation.judge import Evaluator
from kennel.evaluation.metrics.context import MetricSettings
from kennel.evaluation.score import Score, read_judgements, warnings_about, write_judgements
from kennel.features import extract as passes
from kennel.features.base import Extracted, Extractor
from kennel.features.factory import open_extractor
from kennel.shapes import Pixels
from kennel.storage.cache import cache_folder

Maker = Callable[..., NpzSet]


class Counted(Extractor):
    """The means of quarters, with logits, and a count of the images that it saw."""

    name = "counted"
    dimension = 12
    resize = "means of quarters"
    logits = "12 made-up logits"

    def __init__(self) -> None:
        self.seen = 0

    def extract(self, pixels: Pixels) -> Extracted:
        self.seen += len(pixels)
        rgb = pixels.float().expand(-1, 3, -1, -1)
        features = torch.nn.functional.adaptive_avg_pool2d(rgb, 2).flatten(1)
        return Extracted(features, features / 50)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    """An npz of random pictures: `make("name", count=, side=, channels=, seed=, brightness=)`."""

    def build(
        name: str, count: int = 60, side: int = 8, channels: int = 3, seed: int = 0, brightness: int = 200
    ) -> NpzSet:
        random = np.random.default_rng(seed)
        images = random.integers(0, brightness, (count, side, side, channels), dtype=np.uint8)
        np.savez(tmp_path / f"{name}.npz", images=images)
        return NpzSet(tmp_path / f"{name}.npz")

    return build


def values(judgements: list[Score]) -> dict[str, float]:
    return {judgement.metric: judgement.value for judgement in judgements}


def test_a_set_against_itself_has_fid_0_and_is_a_copy(make: Maker) -> None:
    own = make("own")
    fid, mifid = Evaluator(own, Counted()).judge(own, ("fid", "mifid"))
    assert fid.value < 1e-6
    assert mifid.details["distance"] < 1e-12
    assert mifid.details["penalty"] == mifid.details["distance"]


def test_other_pictures_score_worse_than_pictures_of_the_same_kind(make: Maker) -> None:
    reference, alike, darker = make("reference"), make("alike", seed=1), make("darker", seed=1, brightness=90)
    evaluator = Evaluator(reference, Counted())
    assert evaluator.judge(alike, ("fid",))[0].value < evaluator.judge(darker, ("fid",))[0].value / 10


def test_one_pass_serves_all_metrics_and_the_reference_is_kept(make: Maker) -> None:
    extractor = Counted()
    evaluator = Evaluator(make("reference", 40), extractor)
    judgements = evaluator.judge(
        make("fakes", 30, seed=1), ("fid", "mifid", "is"), settings=MetricSettings(splits=3)
    )
    assert [judgement.metric for judgement in judgements] == ["fid", "mifid", "inception_score"]
    assert extractor.seen == 70
    evaluator.judge(make("others", 30, seed=2), ("fid",))
    assert extractor.seen == 100


def test_a_cache_hit_gives_identical_numbers_without_a_pass(make: Maker) -> None:
    reference, fakes = make("reference", 40), make("fakes", 30, seed=1)
    first = values(Evaluator(reference, Counted()).judge(fakes))
    extractor = Counted()
    assert values(Evaluator(reference, extractor).judge(fakes)) == first
    assert extractor.seen == 30
    assert {path.suffix for path in (cache_folder() / "features").iterdir()} == {".npy", ".safetensors"}
    uncached = Counted()
    without = values(Evaluator(reference, uncached, cached=False).judge(fakes))
    assert uncached.seen == 70
    assert without == pytest.approx(first, rel=1e-12)


@pytest.mark.parametrize("suffix", [".npy", ".safetensors"])
@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_a_damaged_cache_is_computed_again_with_a_note(make: Maker, suffix: str, damage: str) -> None:
    reference, fakes = make("reference", 40), make("fakes", 30, seed=1)
    first = values(Evaluator(reference, Counted()).judge(fakes))
    (file,) = (cache_folder() / "features").glob(f"*{suffix}")
    content = bytearray(file.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    else:
        content[3] ^= 0xFF
    file.write_bytes(content)
    extractor = Counted()
    evaluator = Evaluator(reference, extractor)
    assert values(evaluator.judge(fakes)) == first
    assert extractor.seen == 70
    assert "damaged" in evaluator.notes[0]


def test_another_reference_or_extractor_is_another_entry(make: Maker) -> None:
    fakes = make("fakes", 30, seed=1)
    Evaluator(make("one", 40), Counted()).judge(fakes)
    Evaluator(make("two", 40, seed=5), Counted()).judge(fakes)
    Evaluator(make("one", 40), open_extractor("pixels")).judge(fakes)
    assert len(list((cache_folder() / "features").glob("*.npy"))) == 3


def test_the_batch_size_changes_no_score(make: Maker) -> None:
    reference, fakes = make("reference"), make("fakes", seed=1)
    found = [
        values(Evaluator(reference, Counted(), cached=False, batch=batch).judge(fakes, count=31))
        for batch in (7, 60)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-9)


def test_a_count_takes_a_random_subset_by_the_seed(make: Maker) -> None:
    evaluator = Evaluator(make("reference"), Counted())
    fakes = make("fakes", seed=1)
    first = evaluator.judge(fakes, ("fid",), count=20, settings=MetricSettings(seed=1))[0]
    assert evaluator.judge(fakes, ("fid",), count=20, settings=MetricSettings(seed=1))[0] == first
    assert evaluator.judge(fakes, ("fid",), count=20, settings=MetricSettings(seed=2))[0].value != first.value
    assert (first.protocol.sample_count, first.protocol.available_count) == (20, 60)


def test_the_floor_is_between_disjoint_halves_at_the_same_count(make: Maker) -> None:
    evaluator = Evaluator(make("reference", 100), Counted())
    fid, mifid = evaluator.judge(
        make("fakes", 30, seed=1), ("fid", "mifid"), settings=MetricSettings(floor=True)
    )
    assert fid.details["real_v_real_count"] == 30
    assert fid.details["real_v_real"] > 0
    assert 0 < mifid.details["held_out_distance"] < 1
    fid, _ = evaluator.judge(make("many", 80, seed=1), ("fid", "mifid"), settings=MetricSettings(floor=True))
    assert fid.details["real_v_real_count"] == 50


def test_a_score_carries_its_protocol_into_json_and_back(make: Maker, tmp_path: Path) -> None:
    reference = make("reference", 40, channels=1)
    fakes = make("fakes", 30, seed=1)
    judgements = Evaluator(reference, Counted()).judge(
        fakes, ("fid", "mifid"), settings=MetricSettings(seed=3)
    )
    write_judgements(tmp_path / "scores.json", judgements)
    entries = json.loads((tmp_path / "scores.json").read_text())
    assert [entry["metric"] for entry in entries] == ["fid", "mifid"]
    protocol = entries[1]["protocol"]
    assert protocol["extractor"] == "counted"
    assert protocol["reference_fingerprint"] == reference.fingerprint
    assert protocol["options"]["epsilon"] == 0.1
    assert (protocol["device"], protocol["threads"]) == ("cpu", torch.get_num_threads())
    assert protocol["notes"] == ["Gray repeated to RGB for the reference."]
    assert {"kennel", "torch", "numpy", "pillow", "scipy", "scikit-learn"} <= protocol["versions"].keys()
    assert set(entries[1]["details"]) >= {"fid", "distance", "epsilon", "penalty"}
    assert read_judgements(tmp_path / "scores.json") == judgements
    assert "Gray repeated" in judgements[0].protocol.words()
    (tmp_path / "other.json").write_text('[{"metric": "fid"}]')
    with pytest.raises(JudgementError, match="is not a file written by"):
        read_judgements(tmp_path / "other.json")


def test_scores_are_comparable_when_only_the_pictures_differ(make: Maker) -> None:
    evaluator = Evaluator(make("reference"), Counted())
    one, other = (evaluator.judge(make(name, seed=seed))[0] for name, seed in (("one", 1), ("other", 2)))
    assert one.protocol.comparable == other.protocol.comparable
    fewer = evaluator.judge(make("one", seed=1), count=30)[0]
    assert fewer.protocol.comparable != one.protocol.comparable


def test_suspected_copies_name_the_held_out_images_that_they_were_measured_by(make: Maker) -> None:
    reference, fakes = make("reference"), make("fakes", seed=1)
    unseen = [make(name, 30, seed=seed) for name, seed in (("unseen", 7), ("other", 8))]
    evaluators = [Evaluator(reference, Counted(), held_out=held_out) for held_out in (None, *unseen)]
    found = [evaluator.judge(fakes, ("memorisation", "fid")) for evaluator in evaluators]
    options = found[1][0].protocol.options
    assert (options["held_out"], options["held_out_count"]) == (unseen[0].name, 30)
    assert options["held_out_fingerprint"] == unseen[0].fingerprint
    apart = [memorisation.protocol.comparable for memorisation, _ in found]
    assert apart[0] != apart[1] != apart[2] != apart[0]
    assert found[0][1].protocol == found[1][1].protocol, "FID does not look at them"


def test_counts_that_a_metric_cannot_use_are_refused_before_any_pass(make: Maker) -> None:
    extractor = Counted()
    evaluator = Evaluator(make("reference"), extractor, cached=False)
    with pytest.raises(JudgementError, match=r"Precision needs at least 61 images on a side.*give more"):
        evaluator.judge(make("fakes", seed=1), ("precision",), settings=MetricSettings(neighbors=60))
    with pytest.raises(JudgementError, match="FID at infinity needs at least 27 images"):
        evaluator.judge(make("few", 20, seed=1), ("fid", "fid_infinity"))
    assert extractor.seen == 0


def test_few_images_bring_a_warning_and_fewer_than_2_a_refusal(make: Maker) -> None:
    evaluator = Evaluator(make("reference"), Counted())
    (judgement,) = evaluator.judge(make("fakes", 30, seed=1), ("fid",))
    (warning,) = warnings_about(judgement)
    assert warning.startswith("30 images are fewer than 2,048: FID is biased upwards")
    with pytest.raises(JudgementError, match="has 1 image: at least 2 are needed"):
        evaluator.judge(make("single", 1))
    with pytest.raises(JudgementError, match=r"the reference .* has 1 image:"):
        Evaluator(make("single", 1), Counted()).judge(make("fakes", 30))


def test_an_epsilon_that_would_punish_held_out_reals_is_told(make: Maker) -> None:
    evaluator = Evaluator(make("reference"), Counted())
    mifid = evaluator.judge(make("fakes", 30, seed=1), ("mifid",), settings=MetricSettings(floor=True))[0]
    assert mifid.details["held_out_distance"] < 0.1
    assert "would penalize real images" in warnings_about(mifid)[1]
    unknown = evaluator.judge(make("fakes", 30, seed=1), ("mifid",))[0]
    assert unknown.details["penalty"] < 1
    assert "measure it with --held-out or --reference-split" in warnings_about(unknown)[1]
    lenient = evaluator.judge(make("fakes", 30, seed=1), ("mifid",), settings=MetricSettings(epsilon=1e-9))[0]
    assert len(warnings_about(lenient)) == 1, "no penalty, no warning"


def test_what_cannot_be_judged_is_refused_in_a_sentence(make: Maker) -> None:
    evaluator = Evaluator(make("reference"), open_extractor("pixels"))
    with pytest.raises(JudgementError, match=r"images of 16x16, the reference .* of 8x8: bring one to"):
        evaluator.judge(make("large", side=16))
    with pytest.raises(JudgementError, match="has 60 images, and --count is 500: lower --count"):
        evaluator.judge(make("fakes"), count=500)
    with pytest.raises(JudgementError, match="pixels extractor has no logits"):
        evaluator.judge(make("fakes"), ("is",))
    with pytest.raises(UnknownNameError, match="did you mean 'mifid'"):
        evaluator.judge(make("fakes"), ("mfid",))
    with pytest.raises(JudgementError, match="no metric is given"):
        evaluator.judge(make("fakes"), ())
    with pytest.raises(JudgementError, match=r"needs at least 10 images on a side, .*lower --splits"):
        Evaluator(make("reference"), Counted()).judge(make("three", 3), ("is",))


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("recall", "Recall needs at least 71 images on a side, .*: give more, lower --neighbors, or leave"),
        ("coverage", "Coverage needs at least 81 images .*: give more, lower --density-neighbors, or leave"),
        ("fid_infinity", "FID at infinity needs at least 27 images on a side, .*: give more, or leave"),
    ],
)
def test_too_few_images_are_refused_before_any_pass(make: Maker, name: str, given: str) -> None:
    extractor = Counted()
    fakes = make("fakes", count=20 if name == "fid_infinity" else 60)
    settings = MetricSettings(neighbors=70, density_neighbors=80)
    with pytest.raises(JudgementError, match=given):
        Evaluator(make("reference"), extractor).judge(fakes, (name,), settings=settings)
    assert extractor.seen == 0


def test_all_leaves_out_what_these_features_do_not_allow_and_says_so(make: Maker) -> None:
    evaluator = Evaluator(make("black", brightness=1), Counted())
    found = values(evaluator.judge(make("fakes", seed=1), ("all",)))
    assert "fid" in found
    assert "diversity" not in found
    assert [
        note for note in evaluator.notes if note.startswith("Diversity is left out: all images of the ref")
    ]
    with pytest.raises(JudgementError, match="no diversity"):
        evaluator.judge(make("fakes", seed=1), ("all", "diversity"))


def test_classes_without_names_are_judged_by_their_numbers(make: Maker, tmp_path: Path) -> None:
    sides = []
    for seed, name in enumerate(("fakes", "reference")):
        make(name, seed=seed)
        images = np.load(tmp_path / f"{name}.npz")["images"]
        np.savez(tmp_path / f"{name}.npz", images=images, labels=np.arange(60) % 3)
        sides.append(NpzSet(tmp_path / f"{name}.npz"))
    (by_class,) = Evaluator(sides[1], Counted()).judge(sides[0], ("fid_by_class",))
    assert [one["class"] for one in by_class.details["classes"]] == ["0", "1", "2"]


def test_held_out_images_that_lie_in_the_reference_are_told(make: Maker) -> None:
    reference = make("reference")
    held_out = Evaluator(reference, Counted(), held_out=reference).judge(
        make("fakes", seed=1), ("memorisation",)
    )
    assert "held-out images are in the reference" in warnings_about(held_out[0])[0]
    others = Evaluator(reference, Counted(), held_out=make("unseen", seed=2))
    assert warnings_about(others.judge(make("fakes", seed=1), ("memorisation",))[0]) == []


def test_features_that_are_not_finite_are_refused_before_they_reach_a_score(make: Maker) -> None:
    class Broken(Counted):
        def extract(self, pixels: Pixels) -> Extracted:
            return Extracted(torch.full((len(pixels), 12), torch.nan))

    with pytest.raises(JudgementError, match="features that are not finite"):
        Evaluator(make("reference"), Broken()).judge(make("fakes"))


def test_a_set_that_shrinks_while_it_is_read_is_refused(make: Maker) -> None:
    class Shrinking(NpzSet):
        def batches(self, size: int) -> Iterator[np.ndarray]:
            yield next(super().batches(size))

    fakes = make("fakes")
    with pytest.raises(JudgementError, match="gave 7 of 60 images"):
        Evaluator(make("reference"), Counted(), batch=7).judge(Shrinking(fakes.path))


def test_many_features_lie_in_a_mapped_file_and_score_the_same(
    make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, fakes = make("reference"), make("fakes", seed=1)
    in_memory = Evaluator(reference, Counted(), cached=False)
    expected = in_memory.judge(fakes, count=40)
    monkeypatch.setattr(passes, "MAX_MEMORY_BYTES", 40 * 12 * 4 - 1)
    mapped = Evaluator(reference, Counted(), cached=False)
    assert mapped.judge(fakes, count=40) == expected
    assert in_memory.context is not None
    assert mapped.context is not None
    for of_file, of_memory in (
        (mapped.context.images.features, in_memory.context.images.features),
        (mapped.context.images.logits, in_memory.context.images.logits),
        (mapped.context.reference.features, in_memory.context.reference.features),
    ):
        assert isinstance(of_file, np.memmap)
        assert not isinstance(of_memory, np.memmap)
        np.testing.assert_array_equal(of_file, of_memory)


def test_ranks_with_other_images_options_or_weights_are_refused(
    make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []

    def meeting(digest: int, *, patient: bool) -> list[tuple[int]]:
        told.append(digest)
        return [(told[0],), (digest,)]

    monkeypatch.setattr(passes, "all_gather_ints", meeting)
    own, extractor, other = make("own"), Counted(), Counted()
    other.weights_digest = "others"
    rows = np.arange(30)
    passes._check_ranks_agree(own, extractor, rows, 16)
    passes._check_ranks_agree(own, extractor, rows, 16)
    for images, judging, chosen, batch in (
        (make("others", seed=1), extractor, rows, 16),
        (own, other, rows, 16),
        (own, extractor, rows + 1, 16),
        (own, extractor, None, 16),
        (own, extractor, rows, 17),
    ):
        with pytest.raises(
            RankError, match=r"have different images or extractors for .*npz: give all of them"
        ):
            passes._check_ranks_agree(images, judging, chosen, batch)


def test_a_set_whose_batches_are_not_whole_is_refused(make: Maker) -> None:
    class Thinned(NpzSet):
        def batches(self, size: int, first: int = 0, step: int = 1) -> Iterator[np.ndarray]:
            yield from (batch[1:] for batch in super().batches(size, first, step))

    with pytest.raises(JudgementError, match="gave 6 images instead of 7: it changed during the pass"):
        Evaluator(make("reference"), Counted(), batch=7).judge(Thinned(make("fakes").path))


def test_progress_counts_to_the_end(make: Maker) -> None:
    seen: list[tuple[int, int]] = []
    evaluator = Evaluator(make("reference"), Counted(), batch=25)
    evaluator.judge(make("fakes"), count=40, on_progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (40, 40)
    assert [total for _, total in seen] == [40] * len(seen)
