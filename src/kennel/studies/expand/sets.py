"""The sets of the study: test images, training sets with scarce classes, and what fills them up."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from kennel import rng
from kennel.config.recipe import Recipe, override
from kennel.data.dataset import ImageDataset, LabelArray
from kennel.data.images import PixelArray
from kennel.data.prepare.from_set import subset
from kennel.errors import DataError, RecipeError
from kennel.expansion.request import BY_CLASS
from kennel.images import to_float, to_uint8
from kennel.recipes import load_recipe
from kennel.registry import unknown_name
from kennel.studies.expand.config import ExpandConfig
from kennel.studies.matrix import StudyRun, prepared_set
from kennel.training.auto_recipe import AUTO, choose, facts_of

ROTATION, SCALE, SHIFT = 10.0, 0.1, 0.1
"""Of an augmented copy: degrees, share of the size, and share of the side, each at most and either way."""


@dataclass(frozen=True)
class StudySets:
    """`test` images; `scarce`, the labels of the scarce classes; `data`, the name of the set; and the `runs`,
    one for each seed, whose `set_path` is the training set with scarce classes."""

    data: str
    test: ImageDataset
    test_rows: LabelArray
    scarce: tuple[int, ...]
    runs: tuple[StudyRun, ...]


def study_sets(
    study: ExpandConfig,
    out: Path,
    data: Mapping[str, str],
    device: torch.device,
    on_progress: Callable[[int, int], None] | None = None,
) -> StudySets:
    """Prepares the data, and writes the training set of each seed below `out`, unless it is there.

    `data` takes the place of the study's sets. Raises `RecipeError` and `DataError`.
    """
    given = dict(data) or dict(study.data)
    if not given:
        raise RecipeError(f"the study {study.name} names no data: give --data")
    name = "train" if "train" in given else next(iter(given))
    if set(given) - {name} not in (set(), {"test"}):
        raise RecipeError(
            f"--data names {', '.join(given)}: give one set, or train=DATA and test=DATA for two"
        )
    size = None if study.recipe == AUTO else override(load_recipe(study.recipe), study.settings).image.size
    whole = ImageDataset(prepared_set(given[name], size, on_progress))
    labels = _labels(whole)
    if "test" in given:
        test = ImageDataset(prepared_set(given["test"], whole.shape[2], on_progress))
        test_rows = np.arange(len(test))
        _check_test(test, whole)
    else:
        test, test_rows = whole, held_out_share(labels, study.test_share)
    pool = np.arange(len(labels)) if "test" in given else np.setdiff1d(np.arange(len(labels)), test_rows)
    scarce = scarce_labels(study, whole.classes)
    runs = []
    for seed in study.seeds:
        rows = pool[_kept(labels[pool], scarce, study.keep, seed, whole.classes)]
        place = _written(whole, rows, out / "sets" / f"seed-{seed}")
        folder = out / "runs" / f"seed-{seed}"
        recipe = _recipe(study, place, seed, device)
        recipe_file = out / "recipes" / f"seed-{seed}.yaml"
        runs.append(StudyRun("generator", name, seed, folder, recipe, recipe_file, place.path, study.hours))
    return StudySets(name, test, test_rows, scarce, tuple(runs))


def _labels(dataset: ImageDataset) -> LabelArray:
    if dataset.labels is None or len(dataset.classes) < 2:
        raise DataError(f"{dataset.name} has no classes: prepare it from a folder for each class")
    if dataset.generated is not None:
        raise DataError(f"{dataset.name} has generated images: give a set of real images")
    return np.asarray(dataset.labels)


def _check_test(test: ImageDataset, whole: ImageDataset) -> None:
    _labels(test)
    if test.classes != whole.classes or test.shape != whole.shape:
        raise DataError(
            f"{test.name} and {whole.name} differ in their classes or in the shape of images: give two parts "
            "of one collection, prepared alike"
        )


def scarce_labels(study: ExpandConfig, classes: tuple[str, ...]) -> tuple[int, ...]:
    """The labels of the scarce classes. Raises `RecipeError` and `UnknownNameError`."""
    if isinstance(study.scarce, tuple):
        for name in study.scarce:
            if name not in classes:
                raise unknown_name("class", name, classes)
        return tuple(sorted({classes.index(name) for name in study.scarce}))
    if study.scarce >= len(classes):
        raise RecipeError(
            f"scarce is {study.scarce} and the set has {len(classes)} classes: at least one must stay whole"
        )
    return tuple(number * len(classes) // study.scarce for number in range(study.scarce))


def held_out_share(labels: LabelArray, share: float) -> LabelArray:
    """The rows of this share of each class, at least one, sorted: the same in every study of a set."""
    random = rng.generator(0, "test images of the study of expanded sets")
    chosen = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        order = torch.randperm(len(rows), generator=random).numpy()
        chosen.append(rows[order[: max(1, round(share * len(rows)))]])
    return np.sort(np.concatenate(chosen))


def _kept(
    labels: LabelArray, scarce: tuple[int, ...], keep: int, seed: int, classes: tuple[str, ...]
) -> LabelArray:
    """Sorted indices of all images, but of only `keep` of each scarce class, drawn by `seed`."""
    random = rng.generator(seed, "kept images of scarce classes")
    dropped = []
    for label in scarce:
        rows = np.flatnonzero(labels == label)
        if len(rows) <= keep:
            raise RecipeError(
                f"the class '{classes[label]}' has {len(rows)} training images and keep is {keep}: lower keep"
            )
        dropped.append(rows[torch.randperm(len(rows), generator=random).numpy()[keep:]])
    return np.setdiff1d(np.arange(len(labels)), np.concatenate(dropped))


def _written(whole: ImageDataset, rows: LabelArray, destination: Path) -> ImageDataset:
    """The packed set of these rows; kept if it is there already, with the same images."""
    labels = np.asarray(whole.labels)[rows]
    if (destination / "dataset.json").is_file():
        found = ImageDataset(destination)
        if np.array_equal(found.labels, labels) and np.array_equal(found.images, whole.at(rows)):  # type: ignore[arg-type]
            return found
        raise DataError(
            f"{destination} was made of other data or with another keep: give the study another --out"
        )
    return subset(whole, rows, destination)


def _recipe(study: ExpandConfig, dataset: ImageDataset, seed: int, device: torch.device) -> Recipe:
    """The generator's recipe; validation, which the study does not use, is off."""
    budget = [] if study.images is None else [f"budget.images={study.images}"]
    settings = ["validation.every_ticks=0", *study.settings, *budget, f"seed={seed}"]
    if study.recipe != AUTO:
        return override(load_recipe(study.recipe), [*BY_CLASS, *settings])
    facts = replace(facts_of(dataset, device.type, None, study.images), by_class=True)
    return override(choose(facts).recipe, settings)


def augmented_copies(images: PixelArray, count: int, seed: int, *, flip: bool) -> PixelArray:
    """`count` copies of `images` (N, C, H, W), each image equally often.

    Each is turned by up to 10 degrees, scaled by up to 10% and shifted by up to a tenth of the side,
    bilinearly, with the border repeated; with `flip`, half of them are mirrored.
    """
    random = rng.generator(seed, "augmented copies")
    source = torch.from_numpy(np.resize(np.arange(len(images)), count))
    parts = []
    for rows in source.split(1024):  # type: ignore[no-untyped-call]
        uniform = torch.rand((5, len(rows)), generator=random) * 2 - 1
        angle, scale = uniform[0] * math.radians(ROTATION), 1 + SCALE * uniform[1]
        mirror = torch.where(uniform[4] < 0, -1.0, 1.0) if flip else torch.ones(len(rows))
        cosine, sine = torch.cos(angle) * scale, torch.sin(angle) * scale
        matrices = torch.stack(
            [
                torch.stack([cosine * mirror, -sine, 2 * SHIFT * uniform[2]], 1),
                torch.stack([sine * mirror, cosine, 2 * SHIFT * uniform[3]], 1),
            ],
            1,
        )
        pixels = to_float(torch.from_numpy(images[rows.numpy()]))
        grid = functional.affine_grid(matrices, list(pixels.shape), align_corners=False)
        turned = functional.grid_sample(pixels, grid, padding_mode="border", align_corners=False)
        parts.append(to_uint8(turned).numpy())
    return np.concatenate(parts)


def arm_images(
    arm: str, scarce: ImageDataset, expanded: ImageDataset, seed: int
) -> tuple[PixelArray, LabelArray]:
    """The training images and labels of an arm: those of `scarce`, then what fills its classes up to the
    counts of `expanded`. "both" takes the first half of the generated images of each class, and half as many
    augmented copies."""
    images, labels = [np.asarray(scarce.images)], [np.asarray(scarce.labels)]
    drawn_labels = np.asarray(expanded.labels)
    for label in range(len(scarce.classes)):
        drawn = np.flatnonzero((drawn_labels == label) & np.asarray(expanded.generated))
        parts = {"scarce": (0, 0), "augmented": (len(drawn), 0), "generated": (0, len(drawn))}
        half = len(drawn) // 2
        copies, generated = parts.get(arm, (len(drawn) - half, half))
        if copies:
            own = scarce.at(np.flatnonzero(np.asarray(scarce.labels) == label))
            flip = scarce.shape[0] == 3
            images.append(augmented_copies(own, copies, rng.key(seed, f"class {label}"), flip=flip))
        if generated:
            images.append(expanded.at(drawn[:generated]))
        labels.append(np.full(copies + generated, label, np.int64))
    return np.concatenate(images), np.concatenate(labels)
