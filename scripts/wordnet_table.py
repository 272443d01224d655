"""Makes src/kennel/data/wordnet_nouns.tsv from the files of WordNet 3.0.

    python scripts/wordnet_table.py DICT src/kennel/data/wordnet_nouns.tsv --also WNIDS

DICT is WordNet's folder `dict` (data.noun and noun.exc; Debian's package wordnet-base has it as
/usr/share/wordnet). The table has every noun below `--below` (animal, n00015388), and every noun above the
wnids in the file WNIDS, one a line: for the table that kennel carries, the 1,000 of ILSVRC2012.
"""

import argparse
from collections.abc import Iterable
from pathlib import Path

HEAD = """\
# Nouns of WordNet 3.0: wnid, wnids directly above, words, irregular plurals (scripts/wordnet_table.py).
# WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved. The licence: wordnet_licence.txt.
"""
_ABOVE = ("@", "@i")
"""Pointers to what a noun is a kind of, and to what it is an instance of."""


def read_nouns(lines: Iterable[str]) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Each wnid to its words, and to the wnids above it, from the lines of data.noun (see wndb(5WN))."""
    words: dict[str, list[str]] = {}
    above: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith("  "):  # the licence
            continue
        fields = line.partition(" | ")[0].split()
        count = int(fields[3], 16)
        pointers = fields[5 + 2 * count :]
        wnid = f"n{fields[0]}"
        words[wnid] = fields[4 : 4 + 2 * count : 2]
        above[wnid] = [
            f"n{offset}"
            for kind, offset in zip(pointers[::4], pointers[1::4], strict=False)
            if kind in _ABOVE
        ]
    return words, above


def select(above: dict[str, list[str]], top: str, also: Iterable[str]) -> set[str]:
    """What lies below `top`, `also`, and whatever lies above any of these."""
    children: dict[str, list[str]] = {}
    for wnid, parents in above.items():
        for parent in parents:
            children.setdefault(parent, []).append(wnid)
    return _closure(_closure([top], children) | set(also), above)


def table(words: dict[str, list[str]], above: dict[str, list[str]], chosen: set[str], irregular: str) -> str:
    """The table's text; `irregular` is the text of noun.exc, a plural and its singulars on each line."""
    plurals: dict[str, list[str]] = {}
    for line in irregular.splitlines():
        plural, *singulars = line.split()
        for singular in singulars:
            if singular != plural:
                plurals.setdefault(singular, []).append(f"{plural}={singular}")
    rows = []
    for wnid in sorted(chosen):
        pairs = [pair for word in words[wnid] for pair in plurals.get(word.lower(), ())]
        parents = [parent for parent in above[wnid] if parent in chosen]
        rows.append("\t".join((wnid, " ".join(parents), " ".join(words[wnid]), " ".join(pairs))) + "\n")
    return HEAD + "".join(rows)


def _closure(start: Iterable[str], neighbours: dict[str, list[str]]) -> set[str]:
    found = set(start)
    waiting = list(found)
    while waiting:
        new = [wnid for wnid in neighbours.get(waiting.pop(), ()) if wnid not in found]
        found.update(new)
        waiting += new
    return found


def main() -> None:
    """Reads the command line and writes the table."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("dict", type=Path, help="the folder of data.noun and noun.exc")
    parser.add_argument("out", type=Path)
    parser.add_argument("--below", default="n00015388", help="the synset whose kinds are all taken [animal]")
    parser.add_argument("--also", type=Path, help="a file of wnids, one a line")
    given = parser.parse_args()
    with (given.dict / "data.noun").open(encoding="ascii") as stream:
        words, above = read_nouns(stream)
    also = given.also.read_text().split() if given.also else []
    text = table(words, above, select(above, given.below, also), (given.dict / "noun.exc").read_text())
    given.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
