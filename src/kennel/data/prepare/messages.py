"""Notes for the user about a preparation, a sentence each."""

from collections import Counter

from kennel.data.prepare.clean import TOO_SMALL, Rules
from kennel.data.prepare.writer import DropReport
from kennel.data.sources.bit_depth import SetRange
from kennel.data.sources.collection import Collection
from kennel.data.sources.decode import CUT_SHORT, DEEP, TRANSPARENT, UPPER_BYTES
from kennel.data.sources.formats import suffix_of
from kennel.data.sources.index import UNREAD
from kennel.data.sources.truncated_jpeg import LEAST_DECODED

_MAX_KINDS = 6


def notes_of(collection: Collection, rules: Rules, levels: SetRange, report: DropReport) -> list[str]:
    """Notes about classes and splits, unread files, sizes, and conversions of pixels."""
    notes = list(collection.notes)
    if collection.has_annotations and rules.options.crop != "box":
        notes.append("there are annotated boxes, but they were not used: --crop box crops to them")
    return notes + _files(collection) + _sizes(rules, report) + _pixels(rules, levels, report)


def _files(collection: Collection) -> list[str]:
    """The files that are not read, counted by kind."""
    notes = []
    details = Counter(refusal.detail for refusal in collection.refusals if refusal.reason == UNREAD)
    if details:
        kinds = [f"{count:,} {detail.replace(': ', ' (', 1)})" for detail, count in details.most_common()]
        notes.append(f"{_files_are(details.total())} of formats that are not read: {', '.join(kinds)}")
    if len(collection.ignored):
        suffixes = Counter(suffix_of(name) or "no suffix" for name in collection.ignored)
        kinds = [f"{count:,} {suffix}" for suffix, count in suffixes.most_common(_MAX_KINDS)]
        more = ", ..." if len(suffixes) > _MAX_KINDS else ""
        if not collection.classes and suffixes.keys() & {".csv", ".tsv"}:
            more += " (--labels reads a table of names and labels)"
        notes.append(
            f"{_files_are(len(collection.ignored))} ignored, since their names are not those of images: "
            f"{', '.join(kinds)}{more}"
        )
    return notes


def _files_are(count: int) -> str:
    return "1 file is" if count == 1 else f"{count:,} files are"


def _sizes(rules: Rules, report: DropReport) -> list[str]:
    small = report.dropped[TOO_SMALL]
    if rules.options.min_side is not None:
        return []
    if rules.least and small and rules.options.center_crop is None:
        dropped = "1 image was" if small == 1 else f"{small:,} images were"
        return [
            f"{dropped} dropped for a shorter side under {rules.least}, half of --size {rules.size} "
            f"(--min-side 0 keeps and enlarges them)"
        ]
    if rules.mostly_small:
        return [
            f"most images have a shorter side under {-(-rules.size // 2)}, half of --size {rules.size}: they "
            "are enlarged, and none is dropped (change this with a smaller --size, or --min-side)"
        ]
    return []


def _pixels(rules: Rules, levels: SetRange, report: DropReport) -> list[str]:
    notes = []
    remarks, background = report.remarks, "#" + bytes(rules.options.background).hex()
    if count := remarks[DEEP]:
        notes.append(levels.sentence(count))
    if count := remarks[UPPER_BYTES]:
        notes.append(
            f"{count:,} images in color have 16 bits per channel, of which the upper 8 are read: if fewer "
            "bits are in use the images are dark, so convert them to 8 bits first"
        )
    if count := remarks[TRANSPARENT]:
        color = {"#ffffff": "white", "#000000": "black"}.get(background, background)
        notes.append(
            f"{count:,} images are transparent and were composited on {color} (--background takes "
            "another color)"
        )
    if count := remarks[CUT_SHORT]:
        notes.append(
            f"{count:,} JPEGs are cut short and kept: at least {LEAST_DECODED:.0%} of each could be "
            "decoded, and incomplete rows are left out"
        )
    return notes
