"""`kennel judge`: scores of a run's samples, or of any images, against real images."""

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
PICTURE_TEXT = "Images made by a generative adversarial network, next to real training images"


def judge(
    given: Path | None = typer.Argument(
        None,
        metavar="TARGET",
        help="What to judge: a run (default: the newest in runs/), an exported generator (file or name), a "
        "packed set, or a folder, zip, tar or npz of images.",
    ),
    given_reference: Path | None = typer.Option(
        None,
        "--reference",
        help="Real images to compare with: a packed set, or a folder, zip, tar or npz (default for a run: "
        "its training set).",
    ),
    metrics: str | None = _scores(
        None,
        help="Comma-separated names or groups (prdc, prd), or `all` possible ones (default: the usual ones).",
    ),
    extractor: str = _features(
        "auto", help="A name of `kennel extractor list`, or auto: the best one whose weights are available."
    ),
    protocol: str | None = _features(
        None, help="Resizing for the extractor: tf1, clean, pytorch (default: the extractor's)."
    ),
    biased_logits: bool = _features(
        False, "--biased-logits", help="Use the bias of Inception's last layer for the Inception Score."
    ),
    weights: Path | None = _features(
        None, help="File or folder of the extractor's weights, as published or as safetensors."
    ),
    count: int | None = _images(
        None,
        min=1,
        help="Number of images to judge (default: all, at most 10,000; for a run as many as the reference "
        "has, at least 2,048).",
    ),
    seed: int = _images(
        0, min=0, help="Seed of random choices; for a run also the seed of the first sample."
    ),
    splits: int = _scores(10, min=1, help="Splits of the Inception Score."),
    neighbors: int = _scores(3, min=1, help="k of precision, recall and F1."),
    density_neighbors: int = _scores(5, min=1, help="k of density and coverage."),
    size: int | None = _images(
        None, min=1, help="Resize all images to squares of this side first (default: sizes must be equal)."
    ),
    fit: str | None = _images(
        None, help="With --size: crop (the center square), squash or pad (default: crop)."
    ),
    held_out: Path | None = _scores(
        None, "--held-out", help="Real images that are not in the reference: baseline of nearest distances."
    ),
    reference_split: bool = _scores(
        False, "--reference-split", help="Also score one half of the reference against the other."
    ),
    intervals: bool = _scores(True, help="Compute 95% intervals."),
    pictures: Path | None = _output(
        None, "--pictures", help="Draw suspected copies, distances and curves into this folder."
    ),
    json_file: Path | None = _output(None, "--json", help="Write the judgements as a JSON list."),
    checkpoint: str = _images("newest", help="Of a run: newest, best, epoch:N, or a number of images."),
    truncation: float | None = _images(None, help="Of a run: as in `kennel sample`."),
    classes: options.Classes = None,
    batch: int = typer.Option(64, min=1, help="Images per batch; does not change scores."),
    device: str = typer.Option(
        "auto", help="auto, cpu, cuda, cuda:1, mps; under torchrun, cuda is one GPU per process."
    ),
    precision: str = _features("float32", help="float32, or bfloat16: faster if the device supports it."),
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

    with (
        ranks_together(report_error, error_sentence),
        _memory_errors(batch, device),
        _inputs(given, given_reference, size, fit) as (target, source, resize),
    ):
        names = metric_names(name for name in (metrics or "").split(",") if name.strip()) or None
        refuse_unwritable(json_file, "--json")
        place = own_device(pick_device(device))
        reference = open_images(source, resize)
        images, run_file = _open_target(
            target, checkpoint, count, len(reference), seed, (truncation, classes), place, resize
        )
        check_sizes(images, reference)
        network = rank_zero_first(  # so that only one process downloads weights
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
        _print_extractor_notes(network, extractor)
        settings = MetricSettings(
            splits=splits,
            neighbors=neighbors,
            density_neighbors=density_neighbors,
            floor=reference_split,
            intervals=intervals,
            seed=seed,
            device=place,
        )
        held_out_images = open_images(held_out, resize) if held_out is not None else None
        evaluator = Evaluator(reference, network, held_out=held_out_images, batch=batch, shared=True)
        names = evaluator.default_metrics(images, count, settings) if names is None else names
        evaluator.check(images, names, count, settings)
        _check_pictures(pictures, names)
        if rank():
            evaluator.assist(images, count, settings)
            return
        with progress_bar("reference") as report:
            evaluator.prepare(report)
        with progress_bar("images") as report:
            judgements = evaluator.judge(images, names, count=count, settings=settings, on_progress=report)
        print_judgements(evaluator.notes, judgements)
        _save(evaluator.context, judgements, run_file, json_file, pictures, network.name)


@contextmanager
def _inputs(
    target: Path | None, reference: Path | None, size: int | None, fit: str | None
) -> Iterator[tuple[Path, Path, Any]]:
    """Yields the target, the reference and the `Resize` (or None), with defaults filled in.

    If image sizes differ in the block, the error names a command that judges these images. Silences all
    ranks but the first.
    """
    from kennel.cli.console import be_silent
    from kennel.data.resize import SizesError
    from kennel.distributed import rank
    from kennel.errors import JudgementError

    if rank():
        be_silent()
    target = or_newest(target)
    source = reference or training_set(target)
    try:
        yield target, source, _resize(size, fit)
    except SizesError as error:
        side = 1 << (error.side.bit_length() - 1)
        command = shlex.join(
            ["kennel", "judge", str(target), "--reference", str(source), "--size", str(side)]
        )
        raise JudgementError(
            f"{error.problem}: `{command}` judges their center squares at one size (with --fit squash, the "
            "whole images)"
        ) from error


def training_set(target: Path) -> Path:
    """Returns the path of a run's training set; raises `JudgementError` for other targets."""
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
        raise JudgementError(f"the run's training set {source} does not exist any more: give --reference")
    error_console.message(f"Reference: {source}, the run's training set.")
    return source


def _resize(size: int | None, fit: str | None) -> Any:
    from kennel.data.resize import Resize
    from kennel.errors import JudgementError

    if size is not None:
        return Resize(size, fit or "crop")
    if fit is not None:
        raise JudgementError("--fit says how images are resized to --size: give both, or neither")
    return None


def _memory_errors(batch: int, device: str) -> AbstractContextManager[None]:
    """Turns an out-of-memory error in the block into a `RunError` with a remedy."""
    from kennel.training.oom import explain_oom

    remedy = "give a smaller --batch, a smaller --count or fewer --metrics"
    return explain_oom(f"{batch:,} images at a time", device, remedy)


def _open_target(
    target: Path,
    checkpoint: str,
    count: int | None,
    reference_count: int,
    seed: int,
    sampling: tuple[float | None, str | None],
    device: Any,
    resize: Any,
) -> tuple[Any, Path | None]:
    """Opens the images to judge; for a run, returns also the path of its judgements, without extractor and
    suffix. `sampling` is the truncation and the distribution of the classes."""
    from kennel.data.image_files import open_images
    from kennel.data.resize import resized
    from kennel.sampling.loaded_generator import default_sample_count
    from kennel.sampling.resolve import exported_file, load_generator

    truncation, classes = sampling
    if not (target / "recipe.yaml").is_file() and exported_file(target) is None:
        _refuse_sampling_options(target, checkpoint, truncation, classes)
        return open_images(target, resize), None
    drawn_by = options.class_sampling(classes)
    loaded = load_generator(target, checkpoint, device)
    count = count or default_sample_count(reference_count)
    samples = loaded.sampled_set(count, seed, truncation, classes=drawn_by)
    file = target / "judgements" / f"{loaded.images_seen:010d}-{_moment()}" if target.is_dir() else None
    return resized(samples, resize), file


def _refuse_sampling_options(
    target: Path, checkpoint: str, truncation: float | None, classes: str | None
) -> None:
    """Raises `JudgementError` if an option that chooses samples of a run is given with images."""
    from kennel.errors import JudgementError

    given = {
        "--checkpoint": checkpoint != "newest",
        "--truncation": truncation is not None,
        "--classes": classes is not None,
    }
    for option, is_given in given.items():
        if is_given and target.exists():
            raise JudgementError(f"{target} is not a run, and {option} is for samples of a run: leave it out")


def _print_extractor_notes(network: Any, name: str) -> None:
    """Prints the caution about an extractor and, if it was chosen automatically, how to get a better one."""
    from kennel.cli.console import console
    from kennel.features.factory import better_extractor_note

    style = "yellow" if network.caution else ""
    if network.caution:
        console.message(f"Warning: {network.caution}", style)
    if name == "auto" and (note := better_extractor_note(network.name)):
        console.message(note, style)


def _check_pictures(folder: Path | None, names: list[str]) -> None:
    """Raises an error if `--pictures` is not a folder, or if none of the metrics has a picture."""
    from kennel.errors import DataError, JudgementError
    from kennel.reporting.score_plot_names import DRAWN_FROM, pictures_of

    if folder is None:
        return
    for place in (folder, *folder.parents):
        if place.exists() and not place.is_dir():
            raise DataError(f"{place} is a file: give --pictures a folder, new or existing")
    if "all" not in names and not pictures_of(names):
        needed = dict.fromkeys(metric for metrics in DRAWN_FROM.values() for metric in metrics)
        raise JudgementError(
            f"there is no picture of {', '.join(names)}: add one of {', '.join(needed)} to --metrics, "
            "or leave --pictures out"
        )


def _save(
    context: Any,
    judgements: list[Any],
    run_file: Path | None,
    json_file: Path | None,
    pictures: Path | None,
    extractor: str,
) -> None:
    """Writes JSON files and pictures, and prints their paths.

    In a run's folder, a number is added to the name if a judgement of the same second exists.
    """
    from kennel.cli.console import console
    from kennel.evaluation.score import write_judgements
    from kennel.storage.atomic_io import taken

    prefix, text = "", dict[str, str]()
    if run_file is not None:
        first, number = run_file, 1
        # `taken` creates the file, so that two processes do not choose the same name.
        while not taken(saved := run_file.with_name(f"{run_file.name}-{extractor}.json")):
            number += 1
            run_file = first.with_name(f"{first.name}-{number}")
        try:
            write_judgements(saved, judgements)
        except OSError:
            saved.unlink(missing_ok=True)
            raise
        console.message(f"Saved: {saved}")
        text = {"Description": PICTURE_TEXT}
        if pictures is None:
            pictures, prefix = run_file.parent, f"{run_file.name}-{extractor}-"
    if json_file is not None:
        write_judgements(json_file, judgements)
        console.message(f"JSON: {json_file}")
    if pictures is not None:
        _draw(context, judgements, pictures, prefix, text)


def _draw(context: Any, judgements: list[Any], folder: Path, prefix: str, text: dict[str, str]) -> None:
    from kennel.cli.console import console
    from kennel.reporting.score_plot_names import pictures_of

    if not pictures_of(judgement.metric for judgement in judgements):
        return
    from kennel.reporting.score_plots import draw_judging  # imports matplotlib, which takes a second

    for file in draw_judging(context, judgements, folder, prefix, text):
        console.message(f"Picture: {file}")


def _moment() -> str:
    return f"{datetime.now():%Y%m%d-%H%M%S}"


def _precision(name: str) -> Any:
    from kennel.features.base import DTYPES
    from kennel.registry import unknown_name

    if name not in DTYPES:
        raise unknown_name("precision", name, DTYPES)
    return name
