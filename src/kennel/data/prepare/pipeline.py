"""`kennel data prepare`: a source in, a packed set out, and a report of everything that was left out.

    source ─► collection ─► examine (threads: read, decode, crop, resize) ─► in order: duplicates, packing

Threads and not processes: Pillow gives up the interpreter lock while it decodes and resizes, and threads
need no copies, no start-up and no guard around the caller's script. Results keep the order of the collection,
so the packed set does not depend on how many threads there are.
"""

import os
from array import array
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
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
from kennel.data.sources.decode import Reading, pillow_at_ease
from kennel.data.sources.index import UNREAD
from kennel.data.sources.options import PrepareOptions
from kennel.data.sources.resolve import Source, folder_of, names_of, open_source
from kennel.errors import DataError
from kennel.storage.atomic_io import atomic_folder
from kennel.storage.hashing import file_sha256

Progress = Callable[[int, int], None]

_SIZES_LOOKED_AT = 256
"""Pictures, evenly among all, that say whether most of a collection are small."""
_LOOKED_AT_ONCE = 1024

_CHUNK = 16
"""Pictures to a task: enough to make the hand-over cheap, few enough that an interrupt is felt at once."""


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
    """Cleans and packs SOURCE (a path or a known set's name) into the folder `destination` and opens it.

    `on_progress(done, total)` counts pictures, `on_download` bytes. An existing packed set is replaced
    only with `overwrite`, and only when the new one is complete. Raises `DataError` where the source
    cannot be used, nothing is kept, or more than `options.max_bad` of its files are bad; nothing is left
    behind then.
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
        raise DataError(f"'{destination}' could not be made ({error})") from error
    return ImageDataset(destination)


def dry_run(
    source: str | Path,
    options: PrepareOptions | None = None,
    on_progress: Progress | None = None,
    *,
    from_folder: str | Path | None = None,
    on_download: Progress | None = None,
) -> dict[str, Any]:
    """What `prepare` would keep and drop, from headers or annotations alone; writes nothing.

    Returns the `report` of dataset.json and, under "class_counts", what each class would keep. Damage behind
    a good header and duplicates show only when pictures are decoded.
    """
    given = None if from_folder is None else Path(from_folder)
    with open_source(source, options or PrepareOptions(), given=given, on_download=on_download) as opened:
        report = DropReport(None)
        counts: Counter[str] = Counter()
        rules, levels = _rules(opened)
        for outcome in _run(opened, rules, report, on_progress, rehearsal=True):
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
            f"'{source.name}' holds annotations and no images: add --dry-run to see what they would keep"
        )
    rules, levels = _rules(source)
    report = DropReport(folder / "dropped.jsonl")
    writer = PackedWriter(folder, source.size, collection.classes, options.colour)
    try:
        for name in collection.ignored:
            report.leave(name)
        for outcome in _run(source, rules, report, on_progress, rehearsal=False):
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
    finally:
        report.close()
        writer.close()


def _run(
    source: Source, rules: Rules, report: DropReport, on_progress: Progress | None, *, rehearsal: bool
) -> Iterator[Outcome]:
    """Yields the outcomes that the rules keep, in order; the others go to the report.

    Raises `DataError` as soon as more files are bad than `max_bad` allows.
    """
    collection, options = source.collection, source.options
    for refusal in collection.refusals:
        report.drop(refusal.name, refusal.reason, refusal.detail)
    indices = np.arange(len(collection), dtype=np.int64)
    if options.limit is not None:
        # The first N by name would all be of the first classes.
        np.random.default_rng(options.seed).shuffle(indices)
    excluded = set(options.exclude)
    wanted = array("q")
    for index in map(int, indices) if excluded else ():
        if excluded & names_of(collection.name(index)):
            report.drop(collection.name(index), EXCLUDED, "")
        else:
            wanted.append(index)
    if excluded:
        indices = np.frombuffer(wanted, np.int64) if wanted else indices[:0]

    def task(chunk: list[int]) -> list[list[Outcome]]:
        return [examine(collection, index, rules, rehearse=rehearsal) for index in chunk]

    done = 0
    workers = options.workers or _cores()
    with pillow_at_ease():
        for results in _in_order(task, indices, workers):
            for outcomes in results:
                for outcome in outcomes:
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
    """Cores that this process may use, which under a scheduler are fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _in_order(
    task: Callable[[list[int]], list[list[Outcome]]], indices: npt.NDArray[np.int64], workers: int
) -> Iterator[list[list[Outcome]]]:
    """`task` over chunks of `indices`, on threads, in order, with a bounded number of results in flight."""
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
    """What pictures are held against, and the range of those of more than 8 bits."""
    collection, options = source.collection, source.options
    plain = Reading(options.max_pixels)

    def span(index: int) -> Span | None:
        try:
            return collection.span(collection.read(index), plain, collection.name(index))
        except DataError:
            return None  # it will be dropped with its reason

    def look() -> Iterator[Span]:
        # Not on the threads of the run, which wait for the answer.
        with ThreadPoolExecutor(options.workers or _cores()) as pool:
            for start in range(0, len(collection), _LOOKED_AT_ONCE):
                indices = range(start, min(start + _LOOKED_AT_ONCE, len(collection)))
                yield from (found for found in pool.map(span, indices) if found)

    levels = SetRange(options.levels, look)
    reading = Reading(
        options.max_pixels,
        options.background,
        shown=levels,
        rescue=True,
    )
    rules = Rules(options, source.size, options.min_side or 0, reading)
    if options.min_side is not None or collection.native_size or collection.annotations_only:
        return rules, levels
    half = -(-source.size // 2)
    places = np.linspace(0, len(collection) - 1, min(len(collection), _SIZES_LOOKED_AT)).astype(np.int64)
    with pillow_at_ease():
        parts = [
            part
            for index in np.unique(places)
            for part in examine(collection, int(index), rules, rehearse=True)
        ]
    sides = [min(part.width, part.height) for part in parts if part.width]
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
    """Raises where the bad files are more than the allowed share of all files."""
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
        f"such as '{example['name']}': {example['detail'] or worst}): mend them, or allow more with --max-bad"
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
        about = f"such as '{example['name']}', {example['detail']}"
        return f"'{name}' has no images that are read ({reasons}; {about})"
    return f"of {report.seen:,} images in '{name}' none is kept ({reasons}): relax the rules"


def _check_destination(destination: Path, source: str | Path, overwrite: bool) -> None:
    folder = folder_of(source)
    here = destination.resolve()
    if folder is not None and here.is_relative_to(folder.resolve()):
        raise DataError(f"DEST '{destination}' lies inside SOURCE '{source}': give a folder outside of it")
    if Path(source).exists() and Path(source).resolve().is_relative_to(here):
        raise DataError(f"SOURCE '{source}' lies inside DEST '{destination}', which would replace it")
    if not destination.exists() or (destination.is_dir() and not any(destination.iterdir())):
        return
    if not (destination / "dataset.json").is_file():
        raise DataError(f"DEST '{destination}' exists and is not a packed set: give another name")
    if not overwrite:
        raise DataError(f"DEST '{destination}' exists: give another name, or --overwrite to replace it")
