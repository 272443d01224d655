"""What is refused before a study trains: a folder with other runs, and a judge that would fail at the end."""

import re
from collections.abc import Sequence
from pathlib import Path

import torch

import kennel.evaluation.metrics.builtin  # noqa: F401 (registers the metrics)
from kennel.config.recipe import difference
from kennel.data.dataset import ImageDataset
from kennel.errors import KennelError, RecipeError, RunError
from kennel.evaluation.metrics.base import metric_names
from kennel.features.classifier import Classifier
from kennel.features.factory import open_extractor
from kennel.features.train_classifier import checked_labels
from kennel.recipes import load_recipe
from kennel.runs.identity import RESUMABLE_KEYS
from kennel.runs.run_dir import RunDir
from kennel.studies.config import JudgeConfig, StudyConfig, load_study
from kennel.studies.matrix import StudyRun

CHECKPOINTS = re.compile(r"newest|best|epoch:\d{1,9}(\.\d{1,9})?|\d{1,18}")
REMEDY = "give another --out"


def check_folder(study: StudyConfig, runs: Sequence[StudyRun], out: Path) -> None:
    """Raises `RunError` if `out` holds something else than this study, or runs that it would not have made.

    More or fewer rows, sets and seeds, a larger budget and another judge are no other study.
    """
    if out.exists() and not out.is_dir():
        raise RunError(f"{out} is a file: {REMEDY}, a folder that is new or holds this study")
    if RunDir(out).exists():
        raise RunError(f"{out} is a run, not a study: {REMEDY}")
    if (out / "study.yaml").is_file():
        try:
            before = load_study(str(out / "study.yaml"))
        except KennelError:  # of another version, or damaged: the runs themselves are checked below
            before = study
        if before.name != study.name:
            raise RunError(f"{out} holds the study {before.name}, not {study.name}: {REMEDY}, or that name")
    fingerprints: dict[Path, str] = {}
    for run in runs:
        if run.folder.exists():
            if run.set_path not in fingerprints:
                fingerprints[run.set_path] = ImageDataset(run.set_path).fingerprint
            _check_run(run, fingerprints[run.set_path])


def _check_run(run: StudyRun, fingerprint: str) -> None:
    """Compares an existing run with the one that the study asks for."""
    about = run.folder.about()
    if about["data"]["fingerprint"] != fingerprint:
        raise RunError(
            f"{run.path} was trained on {about['data']['path']}, and the study now has other images there: "
            f"{REMEDY}, or another name for the set"
        )
    if run.recipe_file.is_file():  # as this study, or another one, wrote it
        changes = difference(load_recipe(str(run.recipe_file)), run.recipe)
        refused = [change for change in changes if not change.startswith(RESUMABLE_KEYS)]
        if refused:
            raise RunError(
                f"{run.path} was trained with another recipe ({'; '.join(refused)}): {REMEDY}, or the "
                "settings that it has"
            )
    count = about["data"].get("count") or 0
    seen = max((int(entry["images"]) for entry in run.folder.log()), default=0)
    if run.hours is None and count:
        budgets = [one.budget.in_images(count) for one in (run.folder.recipe(), run.recipe)]
        if budgets[1] < budgets[0] and seen > budgets[1]:
            raise RunError(
                f"{run.path} has seen {seen:,} images already, more than the budget of {budgets[1]:,}: give "
                f"at least as many --images as before ({budgets[0]:,}), or another --out"
            )


def check_judge(study: StudyConfig, runs: Sequence[StudyRun], weights: Path | None = None) -> None:
    """Raises `KennelError` if the study's judge has an unknown metric, checkpoint or extractor, or an
    extractor without weights: else that would be found when everything is trained."""
    judge: JudgeConfig = study.judge
    if judge.metrics is not None:
        metric_names(judge.metrics)
    if not CHECKPOINTS.fullmatch(judge.checkpoint):
        raise RecipeError(
            f"study.judge.checkpoint = {judge.checkpoint!r} is none: give newest, best, epoch:N or a number "
            "of images"
        )
    if judge.extractor == "auto":
        return
    for set_path in dict.fromkeys(run.set_path for run in runs):
        dataset = ImageDataset(set_path)
        if judge.extractor == Classifier.name and weights is None:
            checked_labels(dataset)  # its classifier is trained before the judging
        else:
            place, fingerprint = torch.device("cpu"), dataset.fingerprint
            open_extractor(judge.extractor, weights, device=place, fingerprint=fingerprint)
