"""The expanded set: real images as they were, generated ones marked, named and described."""

import json

import numpy as np
import pytest

from generators import noise
from kennel.data.dataset import ImageDataset
from kennel.data.prepare.from_set import names_of
from kennel.errors import DataError, RunError
from kennel.expansion import expand, missing_images
from kennel.expansion.expand import GuardOptions
from kennel.features.pixels import PixelCells
from kennel.sampling.resolve import load_generator

GUARD = GuardOptions(PixelCells())


def test_real_images_are_unchanged_and_generated_ones_follow_with_their_marks(scarce_set, fresh, tmp_path):
    gaps = missing_images(scarce_set, 15)
    found = expand(scarce_set, gaps, fresh, tmp_path / "big", GUARD, seed=50)
    big, count = found.dataset, len(scarce_set)
    assert np.bincount(big.labels).tolist() == [20, 15, 15]
    assert np.array_equal(big.images[:count], scarce_set.images)
    assert np.array_equal(big.labels[:count], scarce_set.labels)
    assert big.generated.tolist() == [False] * count + [True] * 14
    assert big.generated_count == 14
    assert big.about["generated"]["class_counts"] == [0, 11, 3]
    assert names_of(big)[:count] == names_of(scarce_set)
    assert names_of(big)[count] == "generated/class 1/00000050.png"
    # Seeds run on from class to class.
    assert names_of(big)[-1] == "generated/class 2/00000063.png"
    assert np.array_equal(big.images[-1], noise(63, 2))
    assert [(one.name, one.real, one.generated) for one in found.classes] == [
        ("class 1", 4, 11),
        ("class 2", 12, 3),
    ]
    big.refuse_other_pixels()
    assert big.fingerprint != scarce_set.fingerprint


def test_what_drew_the_images_and_how_copies_were_refused_is_recorded(scarce_set, fixed, tmp_path):
    own = scarce_set.at(np.flatnonzero(scarce_set.labels == 1))
    generator = fixed(lambda seed, label: own[0] if seed == 1 else noise(seed, label), teacher="mobilenet")
    found = expand(scarce_set, missing_images(scarce_set, 6), generator, tmp_path / "big", GUARD)
    about = found.dataset.about["generated"]
    assert (about["generator"], about["generator_fingerprint"], about["teacher"]) == (
        "fixed",
        "f",
        "mobilenet",
    )
    assert about["expanded_from"]["fingerprint"] == scarce_set.fingerprint
    assert about["guard"]["rejected"] == {"class 1": 1}
    assert found.classes[0].rejected == 1
    assert about["guard"]["thresholds"] == {"class 1": found.classes[0].threshold}


def test_a_generator_that_copies_leaves_nothing_behind(scarce_set, fixed, tmp_path):
    own = scarce_set.at(np.flatnonzero(scarce_set.labels == 1))
    generator = fixed(lambda seed, label: own[0])
    with pytest.raises(RunError, match="were copies"):
        expand(scarce_set, missing_images(scarce_set, 15), generator, tmp_path / "big", GUARD)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scarce"]


def test_an_expanded_set_is_not_expanded_again(scarce_set, fresh, tmp_path):
    big = expand(scarce_set, missing_images(scarce_set, 15), fresh, tmp_path / "big", GUARD).dataset
    with pytest.raises(DataError, match=f"14 generated images already: expand {scarce_set.path}"):
        missing_images(big, 30)


def test_marks_that_do_not_fit_are_damage(scarce_set, fresh, tmp_path):
    folder = tmp_path / "big"
    expand(scarce_set, missing_images(scarce_set, 15), fresh, folder, GUARD)
    marks = np.load(folder / "generated.npy")
    for wrong in (marks[:-1], ~marks, marks.astype(np.int64)):
        np.save(folder / "generated.npy", wrong)
        with pytest.raises(DataError, match="does not mark the 14 generated images"):
            ImageDataset(folder)
    (folder / "generated.npy").unlink()
    with pytest.raises(DataError, match=r"generated\.npy cannot be read"):
        ImageDataset(folder)
    about = json.loads((folder / "dataset.json").read_text())
    about["generated"]["class_counts"] = [1]
    (folder / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(DataError, match="not as many counts of generated images as classes"):
        ImageDataset(folder)


def test_a_share_of_rejections_outside_of_0_to_1_is_refused(scarce_set, fresh, tmp_path):
    with pytest.raises(RunError, match="--max-rejected is 1"):
        expand(
            scarce_set,
            missing_images(scarce_set, 15),
            fresh,
            tmp_path / "big",
            GuardOptions(PixelCells(), max_rejected=1.0),
        )


def test_a_run_draws_the_images_that_sampling_its_seeds_draws(scarce_set, run_by_class, tmp_path):
    loaded = load_generator(run_by_class(scarce_set))
    big = expand(scarce_set, missing_images(scarce_set, 7), loaded, tmp_path / "big", GUARD, seed=5).dataset
    drawn = dict(zip(names_of(big), big.images, strict=True))
    name = names_of(big)[-1]
    seed = int(name.rpartition("/")[2].removesuffix(".png"))
    (batch,) = loaded.samples(1, seed, label=1)
    assert np.abs(drawn[name].astype(int) - batch.pixels[0]).max() <= 1  # sums of another batch size
