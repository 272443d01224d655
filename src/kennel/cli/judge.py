"""`kennel judge`: how good a run's samples, or any folder of pictures, are beside a reference set."""

import shlex
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import typer

from kennel.cli import options
from kennel.cli.checks import refuse_unwritable
from kennel.cli.newest import or_newest
from kennel.cli.score_output import print_judgements

_images = partial(typer.Option, rich_help_panel="Images")
_scores = partial(typer.Option, rich_help_panel="Metrics")
_features = partial(typer.Option, rich_help_panel="Extractor")
_output = partial(typer.Option, rich_help_panel="Output")
MADE_BY = "Images made by a generative adversarial network, beside real training images"


def judge(
    given: Path | None = typer.Argument(
        None,
        metavar="TARGET",
        help="What to judge: a run (the newest in runs/), an exported generator (file or name), a packed "
        "set, or a folder, zip, tar or npz of images.",
    ),
    given_reference: Path | None = typer.Option(
        None,
        "--reference",
        help="Real images to compare with: a packed set, or a folder, zip, tar or npz (of a run: the set "
        "that it was trained on).",
    ),
    metrics: str | None = _scores(
        None,
        help="Comma-separated names or groups (prdc, prd), or `all` possible ones (default: the usual).",
    ),
    extractor: str = _features(
        "auto", help="A name of `kennel extractor list`, or auto: the best one whose weights are at hand."
    ),
    protocol: str | None = _features(
        None, help="How images are resized for the extractor: tf1, clean, pytorch (default: the extractor's)."
    ),
    biased_logits: bool = _features(
        False, "--biased-logits", help="Keep the bias of Inception's last layer for the Inception Score."
    ),
    weights: Path | None = _features(
        None, help="A file or folder with the extractor's weights, as published or as safetensors."
    ),
    count: int | None = _images(
        None,
        min=1,
        help="How many images to judge (default: all up to 10,000; of a run as many as the reference has, "
        "2,048 at least).",
    ),
    seed: int = _images(0, min=0, help="Of every random choice; for a run, also the first sample's seed."),
    splits: int = _scores(10, min=1, help="Parts of the Inception Score."),
    neighbors: int = _scores(3, min=1, help="k of precision, recall and F1."),
    density_neighbors: int = _scores(5, min=1, help="k of density and coverage."),
    size: int | None = _images(
        None, min=1, help="Bring all images to squares of this side first (default: they must have one size)."
    ),
    fit: str | None = _images(
        None, help="With --size: crop (the center square), squash or pad (default: crop)."
    ),
    held_out: Path | None = _scores(
        None, "--held-out", help="Real images outside the reference: the baseline of nearest distances."
    ),
    reference_split: bool = _scores(
        False, "--reference-split", help="Also score one half of the reference against the other."
    ),
    intervals: bool = _scores(True, help="Compute 95% intervals."),
    pictures: Path | None = _output(
        None, "--pictures", help="Draw suspected copies, distances and curves into this folder."
    ),
    json_file: Path | None = _output(None, "--json", help="Write the judgements as a JSON list."),
    checkpoint: str = _images("newest", help="Of a run: newest, best, epoch:N, or a count of images."),
    truncation: float | None = _images(None, help="Of a run: as in `kennel sample`."),
    classes: options.Classes = None,
    batch: int = typer.Option(64, min=1, help="Images at a time; it changes no score."),
    device: str = typer.Option(
        "auto", help="auto, cpu, cuda, cuda:1, mps; under torchrun cuda is a GPU each."
    ),
    precision: str = _features("float32", help="float32, or bfloat16: faster where the machine has it."),
) -> None:
    """Measure FID, MiFID, KID, precision, recall and more of a run or any images, each with its protocol.

    Example: kennel judge runs/mine --reference-split

    Under `torchrun --nproc-per-node N -m kennel judge ...` N processes share the images.
    """
    from kennel.cli.console import error_sentence, progress_bar, report_error
    from kennel.data.image_files import open_images
    from kennel.distributed import rank, rank_zero_first, ranks_together
    from kennel.distributed.devices import own_device
    from kennel.engine.builder import pick_device
    from kennel.evaluation.checks import check_sizes, teacher_of
    from kennel.evaluation.judge import Evaluator
    from kennel.evaluation.metrics.base import metric_names
    from kennel.evaluation.metrics.context import MetricSettings
    from kennel.features.factory import open_extractor
    from kennel.sampling.resolve import exported_file

    with (
        ranks_together(report_error, error_sentence),
        _shortage_told(batch, device),
        _sides(given, given_reference, size, fit) as (target, source, resize),
    ):
        names = metric_names(name for name in (metrics or "").split(",") if name.strip()) or None
        if json_file is not None:
            refuse_unwritable(json_file, "--json")
        place = own_device(pick_device(device))
        reference = open_images(source, resize)
        run_file = None
        if (target / "recipe.yaml").is_file() or exported_file(target) is not None:
            images, run_file = _samples(
                target, checkpoint, count, len(reference), seed, (truncation, classes), place, resize
            )
        else:
            _refuse_choices_of_runs(target, checkpoint, truncation, classes)
            images = open_images(target, resize)
        check_sizes(images, reference)
        # Weights that must be downloaded first are so by one rank.
        judging = rank_zero_first(
            lambda: open_extractor(
                extractor,
                weights,
                device=place,
                precision=_precision(precision),
                protocol=protocol,
                biased_logits=biased_logits,
                fingerprint=reference.fingerprint,
                teacher=teacher_of(images),
            )
        )
        _warn_of(judging, extractor)
        settings = MetricSettings(
            splits=splits,
            neighbors=neighbors,
            density_neighbors=density_neighbors,
            floor=reference_split,
            intervals=intervals,
            seed=seed,
            device=place,
        )
        unseen = open_images(held_out, resize) if held_out is not None else None
        court = Evaluator(reference, judging, held_out=unseen, batch=batch, shared=True)
        if names is None:
            names = court.default_metrics(images, count, settings)
        court.check(images, names, count, settings)
        if pictures is not None:
            _check_pictures(pictures, names)
        if rank():
            court.assist(images, count, settings)
            return
        with progress_bar("reference") as report:
            court.prepare(report)
        with progress_bar("images") as report:
            judgements = court.judge(images, names, count=count, settings=settings, on_progress=report)
        print_judgements(court.notes, judgements)
        run_file = _keep(judgements, run_file, json_file, judging.name)
        folder, prefix = _place_of_pictures(pictures, run_file, judging.name)
        if folder is not None:
            made_by = {} if run_file is None else {"Description": MADE_BY}
            _draw(court.context, judgements, folder, prefix, made_by)


def _set_of(target: Path) -> Path:
    """The set that a run was trained on; what is no run has none, and a reference must be named."""
    from kennel.cli.console import error_console
    from kennel.errors import JudgementError
    from kennel.runs.run_dir import RunDir

    run = RunDir(target)
    if not run.exists():
        raise JudgementError(
            "--reference is missing: give the real images to compare with, a packed set, or a folder, zip, "
            "tar or npz"
        )
    source = Path(run.about()["data"]["path"])
    if not source.exists():
        raise JudgementError(f"the run's set {source} is not there any more: give --reference")
    error_console.print(f"Reference: {source}, the run's training set.", soft_wrap=True)
    return source


def _place_of_pictures(given: Path | None, run_file: Path | None, extractor: str) -> tuple[Path | None, str]:
    """The folder in which pictures of a judgement go, and how their names begin; no folder for none."""
    if given is None and run_file is not None:
        return run_file.parent, f"{run_file.name}-{extractor}-"
    return given, ""


def _warn_of(judging: Any, asked: str) -> None:
    """What to know of an extractor before its numbers, and how to get a better one where none was named."""
    from kennel.cli.console import console
    from kennel.features.factory import better_extractor_note

    if judging.caution:
        console.print(f"Warning: {judging.caution}", style="yellow", soft_wrap=True)
    if asked == "auto" and (note := better_extractor_note(judging.name)):
        console.print(note, style="yellow" if judging.caution else "", soft_wrap=True)


def _shortage_told(batch: int, device: str) -> AbstractContextManager[None]:
    """Where memory runs out in it, one sentence says with what, where, and what to do."""
    from kennel.training.oom import explain_oom

    remedy = "give a smaller --batch, a smaller --count or fewer --metrics"
    return explain_oom(f"{batch:,} images at a time", device, remedy)


@contextmanager
def _sides(
    target: Path | None, reference: Path | None, size: int | None, fit: str | None
) -> Iterator[tuple[Path, Path, Any]]:
    """Gives what is judged, what it is compared with, and the `Resize` that is asked for, or None.

    What is not named is filled in. Sizes that differ in the block are answered with the command that judges
    these images. All ranks but the first are silent from here on.
    """
    from kennel.cli.console import be_silent
    from kennel.data.resize import SizesError
    from kennel.distributed import rank
    from kennel.errors import JudgementError

    if rank():
        be_silent()
    target = or_newest(target)
    data = reference or _set_of(target)
    try:
        yield target, data, _resize(size, fit)
    except SizesError as error:
        side = 1 << (error.side.bit_length() - 1)
        command = shlex.join(["kennel", "judge", str(target), "--reference", str(data), "--size", str(side)])
        raise JudgementError(
            f"{error.problem}: `{command}` judges their center squares at one size (--fit squash the whole "
            "pictures)"
        ) from error


def _resize(size: int | None, fit: str | None) -> Any:
    from kennel.data.resize import Resize
    from kennel.errors import JudgementError

    if size is not None:
        return Resize(size, fit or "crop")
    if fit is not None:
        raise JudgementError("--fit says how images are brought to the size of --size: give both, or neither")
    return None


def _keep(
    judgements: list[Any], run_file: Path | None, json_file: Path | None, extractor: str
) -> Path | None:
    """Writes the JSON files that there are to write, and says where.

    Gives the name in the run's folder: with a number where another judgement of the same second has it.
    """
    from kennel.cli.console import console
    from kennel.evaluation.score import write_judgements
    from kennel.storage.atomic_io import taken

    if run_file is not None:
        first, number = run_file, 1
        # Taken before it is written: two that end in one second would find the same name free.
        while not taken(saved := run_file.with_name(f"{run_file.name}-{extractor}.json")):
            number += 1
            run_file = first.with_name(f"{first.name}-{number}")
        try:
            write_judgements(saved, judgements)
        except OSError:
            saved.unlink(missing_ok=True)
            raise
        console.print(f"Saved: {saved}", soft_wrap=True)
    if json_file is not None:
        write_judgements(json_file, judgements)
        console.print(f"JSON: {json_file}", soft_wrap=True)
    return run_file


def _refuse_choices_of_runs(
    target: Path, checkpoint: str, truncation: float | None, classes: str | None
) -> None:
    """Pictures that lie there are not sampled, so nothing can be chosen about that."""
    from kennel.errors import JudgementError

    choices = {
        "--checkpoint": checkpoint != "newest",
        "--truncation": truncation is not None,
        "--classes": classes is not None,
    }
    for option, given in choices.items():
        if given and target.exists():
            raise JudgementError(
                f"{target} is no run, and {option} chooses how a run is sampled: leave it out"
            )


def _check_pictures(folder: Path, names: list[str]) -> None:
    """Refuses before any pass a folder that cannot be one, and metrics that have no picture."""
    from kennel.errors import DataError, JudgementError
    from kennel.reporting.score_plot_names import DRAWN_FROM, pictures_of

    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise DataError(f"{place} is a file: give --pictures a folder, new or not")
    if "all" not in names and not pictures_of(names):
        needed = dict.fromkeys(metric for metrics in DRAWN_FROM.values() for metric in metrics)
        raise JudgementError(
            f"there is no picture of {', '.join(names)}: add one of {', '.join(needed)} to --metrics, "
            "or leave --pictures out"
        )


def _draw(context: Any, judgements: list[Any], folder: Path, prefix: str, text: dict[str, str]) -> None:
    """Draws the pictures that these judgements have, and says where they are."""
    from kennel.cli.console import console
    from kennel.reporting.score_plot_names import pictures_of

    if not pictures_of(judgement.metric for judgement in judgements):
        return
    # matplotlib takes a second to import
    from kennel.reporting.score_plots import draw_judging

    for file in draw_judging(context, judgements, folder, prefix, text):
        console.print(f"Picture: {file}", soft_wrap=True)


def _samples(
    run: Path,
    checkpoint: str,
    count: int | None,
    reference_count: int,
    seed: int,
    drawn: tuple[float | None, str | None],
    device: Any,
    resize: Any,
) -> tuple[Any, Path | None]:
    """The samples of a run or an exported generator as an `ImageSet`, and where the judgements of a run go,
    without the extractor and suffix.

    `drawn` is their truncation, and how their classes are drawn.
    Without a count: as many as the reference holds, the usual protocol, but 10,000 at most (Kaggle's number)
    and 2,048 at least, where the bias of FID begins to matter less than the model.
    """
    from kennel.data.resize import resized
    from kennel.evaluation.judge import DEFAULT_COUNT
    from kennel.evaluation.score import RECOMMENDED_COUNT
    from kennel.sampling.resolve import load_generator

    count = count or min(DEFAULT_COUNT, max(reference_count, RECOMMENDED_COUNT))
    truncation, sampling = drawn[0], options.class_sampling(drawn[1])
    loaded = load_generator(run, checkpoint, device)
    images = resized(loaded.sampled_set(count, seed, truncation, classes=sampling), resize)
    if not run.is_dir():
        return images, None
    return images, run / "judgements" / f"{loaded.images_seen:010d}-{_moment()}"


def _moment() -> str:
    """Now, to the second, as part of a file's name."""
    return f"{datetime.now():%Y%m%d-%H%M%S}"


def _precision(name: str) -> Any:
    from kennel.features.base import DTYPES
    from kennel.registry import unknown_name

    if name not in DTYPES:
        raise unknown_name("precision", name, DTYPES)
    return name
