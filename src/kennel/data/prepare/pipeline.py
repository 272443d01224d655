"""`kennel data prepare`: makes a packed set from a source and reports all dropped images.

    source ─► collection ─► examine (threads: read, decode, crop, resize) ─► in order: duplicates, packing

Threads are enough, because Pillow releases the GIL while it decodes and resizes. Results keep the order of
the collection, so the packed set does not depend on the number of threads.
"""

import os
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import PIL

import kennel
from kennel.data.dataset import ImageDataset
from kennel.data.prepare.clean import BAD_REASONS, BROKEN, DUPLICATE, EXCLUDED, Outcome, Rules, examine
from kennel.data.prepare.messages import notes_of
from kennel.data.prepare.writer import DropReport, PackedWriter
from kennel.data.sources.bit_depth import SetRange, Span
from kennel.data.sources.catalog import KNOWN_SETS
from kennel.data.sources.decode import Reading, pillow_at_ease
from kennel.data.sources.index import UNREAD
from kennel.data.sources.options import PrepareOptions
from kennel.data.sources.resolve import Source, names_of, open_source
from kennel.errors import DataError
from kennel.storage.atomic_io import atomic_folder
from kennel.storage.hashing import file_sha256

Progress = Callable[[int, int], None]

_SAMPLED_SIZES = 256  # images, evenly chosen, that decide whether most are small
_SPANS_AT_ONCE = 1024

_CHUNK = 16
"""Images per task: many enough for low overhead, few enough that an interrupt takes effect quickly."""


def prepare(
    source: str | Path,
    destination: str | Path,
    options: PrepareOptions | None = None,
    on_progress: Progress | None = None,
    *,
    from_folder: str | Path | None = None,
    overwrite: bool = False,
    on_download: Progress | None = None,
) -> ImageDataset:
    """Cleans and packs SOURCE (a path or the name of a known set) into the folder `destination` and opens it.

    `on_progress(done, total)` counts images, `on_download` bytes. An existing packed set is replaced only
    with `overwrite`, when the new one is complete. Raises `DataError` and leaves no files if the source
    cannot be used, no image is kept, or more than `options.max_bad` of its files are bad.
    """
    destination = Path(destination)
    options = options or PrepareOptions()
    _check_destination(destination, source, overwrite)
    given = None if from_folder is None else Path(from_folder)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        with (
            open_source(
                source, options, given=given, scratch=destination.parent, on_download=on_download
            ) as opened,
            atomic_folder(destination) as folder,
        ):
            _pack(opened, folder, on_progress)
    except OSError as error:
        raise DataError(f"'{destination}' could not be created ({error})") from error
    return ImageDataset(destination)


def dry_run(
    source: str | Path,
    options: PrepareOptions | None = None,
    on_progress: Progress | None = None,
    *,
    from_folder: str | Path | None = None,
    on_download: Progress | None = None,
) -> dict[str, Any]:
    """What `prepare` would keep and drop, from headers or annotations; writes nothing.

    Returns the `report` of dataset.json and, under "class_counts", the kept images of each class. It does not
    find duplicates, nor files that are damaged behind a valid header.
    """
    given = None if from_folder is None else Path(from_folder)
    with open_source(source, options or PrepareOptions(), given=given, on_download=on_download) as opened:
        report = DropReport(None)
        counts: Counter[str] = Counter()
        rules, levels = _rules(opened)
        for outcome in _run(opened, rules, report, on_progress, headers_only=True):
            report.kept += 1
            report.measure(outcome.width, outcome.height, kept=True)
            if opened.collection.classes:
                counts[opened.collection.classes[outcome.label]] += 1
            if report.kept == opened.options.limit:
                break
        _check_bad(report, opened, final=True)
        return {
            **_about_run(opened, rules, levels, report),
            "class_counts": {name: counts[name] for name in opened.collection.classes},
        }


def _pack(source: Source, folder: Path, on_progress: Progress | None) -> None:
    collection, options = source.collection, source.options
    if collection.annotations_only:
        raise DataError(
            f"'{source.name}' has annotations but no images: add --dry-run to see what they would keep"
        )
    rules, levels = _rules(source)
    with (
        closing(DropReport(folder / "dropped.jsonl")) as report,
        closing(PackedWriter(folder, source.size, collection.classes, options.color)) as writer,
    ):
        for name in collection.ignored:
            report.ignore(name)
        for outcome in _run(source, rules, report, on_progress, headers_only=False):
            assert outcome.pixels is not None
            keep = bool(options.keep_duplicates)
            kept = writer.add(outcome.pixels, outcome.label, outcome.name, keep_duplicate=keep)
            report.measure(outcome.width, outcome.height, kept=kept)
            if kept:
                report.kept += 1
                report.remarks.update(outcome.remarks)
            else:
                report.drop(outcome.name, DUPLICATE, "its pixels are those of an earlier image")
            if report.kept == options.limit:
                break
        report.close()
        _check_bad(report, source, final=True)
        if not len(writer):
            raise DataError(_nothing_kept(report, source))
        provenance = {
            "source": source.name,
            "kind": source.kind,
            "files": [
                {"name": name, "sha256": file_sha256(archive)} for name, archive in source.archives.items()
            ],
            "options": options.to_json(),
            "kennel": kennel.__version__,
            "pillow": PIL.__version__,
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        writer.finish({"provenance": provenance, "report": _about_run(source, rules, levels, report)})


def _run(
    source: Source, rules: Rules, report: DropReport, on_progress: Progress | None, *, headers_only: bool
) -> Iterator[Outcome]:
    """Yields kept outcomes in order, reports the others. Raises `DataError` if too many files are bad."""
    collection, options = source.collection, source.options
    for refusal in collection.refusals:
        report.drop(refusal.name, refusal.reason, refusal.detail)
    indices = np.arange(len(collection), dtype=np.int64)
    if options.limit is not None:
        # Shuffled, because the first images by name are all of the first classes.
        np.random.default_rng(options.seed).shuffle(indices)
    if excluded := set(options.exclude):
        keep = np.ones(len(indices), bool)
        for place, index in enumerate(map(int, indices)):
            if excluded & names_of(collection.name(index)):
                report.drop(collection.name(index), EXCLUDED, "")
                keep[place] = False
        indices = indices[keep]

    def task(chunk: list[int]) -> list[list[Outcome]]:
        return [examine(collection, index, rules, headers_only=headers_only) for index in chunk]

    done = 0
    with pillow_at_ease():
        for results in _in_order(task, indices, options.workers or _cores()):
            for outcome in (outcome for outcomes in results for outcome in outcomes):
                if outcome.reason is None:
                    yield outcome
                else:
                    report.drop(outcome.name, outcome.reason, outcome.detail)
                    report.measure(outcome.width, outcome.height, kept=False)
            _check_bad(report, source)
            done += len(results)
            if on_progress:
                on_progress(done, len(indices))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_order(
    task: Callable[[list[int]], list[list[Outcome]]], indices: npt.NDArray[np.int64], workers: int
) -> Iterator[list[list[Outcome]]]:
    """`task` over chunks of `indices` on threads, in order, with a bounded number of results in memory."""
    chunks = (indices[start : start + _CHUNK].tolist() for start in range(0, len(indices), _CHUNK))
    if workers == 1:
        yield from map(task, chunks)
        return
    pool = ThreadPoolExecutor(workers)
    waiting: deque[Future[list[list[Outcome]]]] = deque()
    try:
        for chunk in chunks:
            waiting.append(pool.submit(task, chunk))
            if len(waiting) >= 3 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _rules(source: Source) -> tuple[Rules, SetRange]:
    """The rules, and the value range of images of more than 8 bits."""
    collection, options = source.collection, source.options
    plain = Reading(options.max_pixels)

    def span(index: int) -> Span | None:
        try:
            return collection.span(collection.read(index), plain, collection.name(index))
        except DataError:
            return None  # the image will be dropped with its reason

    def spans() -> Iterator[Span]:
        # Not on the threads of the run, which wait for the result.
        with ThreadPoolExecutor(options.workers or _cores()) as pool:
            for start in range(0, len(collection), _SPANS_AT_ONCE):
                indices = range(start, min(start + _SPANS_AT_ONCE, len(collection)))
                yield from (found for found in pool.map(span, indices) if found)

    levels = SetRange(options.levels, spans)
    reading = Reading(options.max_pixels, options.background, value_range=levels, rescue=True)
    rules = Rules(options, source.size, options.min_side or 0, reading)
    if options.min_side is not None or collection.native_size or collection.annotations_only:
        return rules, levels
    half = -(-source.size // 2)
    places = np.linspace(0, len(collection) - 1, min(len(collection), _SAMPLED_SIZES)).astype(np.int64)
    sides = []
    with pillow_at_ease():
        for index in np.unique(places):
            parts = examine(collection, int(index), rules, headers_only=True)
            sides += [min(part.width, part.height) for part in parts if part.width]
    mostly_small = 2 * sum(side < half for side in sides) > len(sides)
    return replace(rules, least=0 if mostly_small else half, mostly_small=mostly_small), levels


def _about_run(source: Source, rules: Rules, levels: SetRange, report: DropReport) -> dict[str, Any]:
    collection = source.collection
    return {
        "images": len(collection) + len(collection.refusals),
        "ignored": len(collection.ignored),
        "notes": notes_of(collection, rules, levels, report),
        **report.to_json(),
    }


def _check_bad(report: DropReport, source: Source, *, final: bool = False) -> None:
    """Raises `DataError` if the share of bad files is too large."""
    total = len(source.collection) + len(source.collection.refusals)
    seen = report.seen if final and source.options.limit else total
    bad = {reason: count for reason, count in report.dropped.items() if reason in BAD_REASONS}
    if sum(bad.values()) <= source.options.max_bad * max(seen, 1):
        return
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in bad.items())
    worst = BROKEN if BROKEN in bad else next(iter(bad))
    example = report.examples[worst][0]
    raise DataError(
        f"more than {100 * source.options.max_bad:g}% of the files are bad ({reasons}, of {total:,} files; "
        f"such as '{example['name']}': {example['detail'] or worst}): fix them, or allow more with --max-bad"
    )


def _nothing_kept(report: DropReport, source: Source) -> str:
    name = source.name
    if not report.seen:
        ignored = len(source.collection.ignored)
        return (
            f"'{name}' has no images ({ignored:,} other files): give a folder, zip or tar of .jpg, .png, ..."
        )
    reasons = ", ".join(f"{count:,} {reason}" for reason, count in report.dropped.most_common())
    if set(report.dropped) == {UNREAD}:
        example = report.examples[UNREAD][0]
        return (
            f"'{name}' has no images of formats that are read ({reasons}; such as '{example['name']}', "
            f"{example['detail']})"
        )
    return f"of {report.seen:,} images in '{name}' none is kept ({reasons}): relax the rules"


def _check_destination(destination: Path, source: str | Path, overwrite: bool) -> None:
    resolved = destination.resolve()
    is_folder = str(source) not in KNOWN_SETS and Path(source).is_dir()
    if is_folder and resolved.is_relative_to(Path(source).resolve()):
        raise DataError(f"DEST '{destination}' is inside SOURCE '{source}': give a folder outside of it")
    if Path(source).exists() and Path(source).resolve().is_relative_to(resolved):
        raise DataError(f"SOURCE '{source}' is inside DEST '{destination}', which would replace it")
    if not destination.exists() or (destination.is_dir() and not any(destination.iterdir())):
        return
    if not (destination / "dataset.json").is_file():
        raise DataError(f"DEST '{destination}' exists and is not a packed set: give another name")
    if not overwrite:
        raise DataError(f"DEST '{destination}' exists: give another name, or --overwrite to replace it")
