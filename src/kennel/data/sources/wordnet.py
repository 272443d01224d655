"""The WordNet nouns of ImageNet's classes.

ImageNet names a class by a wnid: "n" and the offset of a noun in WordNet 3.0 (Miller 1995). The table
`wordnet_nouns.tsv` has all animals, and the nouns above the 1,000 classes of ILSVRC2012. It is made by
`scripts/wordnet_table.py`; `wordnet_licence.txt` is WordNet's license.
"""

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from kennel.errors import DataError, UnknownNameError

WNID = re.compile(r"n\d{8}")
TABLE = Path(__file__).with_name("wordnet_nouns.tsv")

# WordNet's rules for regular plurals (morphy); irregular plurals are in the table.
_ENDINGS = (
    *(("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh")),
    *(("men", "man"), ("ies", "y")),
)


@dataclass
class WordNetNouns:
    """A table of synsets. Names are case-insensitive, with underscores for spaces.

    `lemmas` maps each wnid to its words, the first of which is the synset's name; `parents` maps it to the
    wnids directly above; `plurals` maps irregular plurals to their singulars.
    """

    lemmas: dict[str, tuple[str, ...]] = field(default_factory=dict)
    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    plurals: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._first: dict[str, list[str]] = {}
        self._any: dict[str, list[str]] = {}
        for wnid, words in self.lemmas.items():
            self._first.setdefault(words[0].lower(), []).append(wnid)
            for word in dict.fromkeys(word.lower() for word in words):
                self._any.setdefault(word, []).append(wnid)
        self._children: dict[str, list[str]] = {}
        for wnid, above in self.parents.items():
            for parent in above:
                self._children.setdefault(parent, []).append(wnid)

    def find(self, name: str) -> str:
        """The wnid of a word in singular or plural; a wnid is returned as it is.

        A synset's first word has precedence over its other words: `cat` is the true cat and not the big cat.
        Raises `UnknownNameError` with the nearest word, and `DataError` if the word is ambiguous.
        """
        if WNID.fullmatch(name):
            return name
        word = "_".join(name.lower().split())
        for words in (self._first, self._any):
            for form in self._forms(word):
                if form in words:
                    return self._unambiguous(name, words[form])
        raise UnknownNameError(f"there is no synset '{name}' of ImageNet: {self._nearest(word)}")

    def below(self, wnid: str) -> set[str]:
        """The synset and all synsets below it."""
        found, queue = {wnid}, [wnid]
        while queue:
            new = [child for child in self._children.get(queue.pop(), ()) if child not in found]
            found.update(new)
            queue += new
        return found

    def label(self, wnid: str) -> str:
        """`n02085620-Chihuahua`, as in Stanford Dogs; only the wnid if it is not in the table."""
        return f"{wnid}-{self.lemmas[wnid][0]}" if wnid in self.lemmas else wnid

    def _forms(self, word: str) -> tuple[str, ...]:
        regular = (
            word.removesuffix(ending) + singular for ending, singular in _ENDINGS if word.endswith(ending)
        )
        start, _, last = word.rpartition("_")
        irregular = (f"{start}_{form}".removeprefix("_") for form in self.plurals.get(last, ()))
        return word, *irregular, *regular

    def _unambiguous(self, name: str, wnids: list[str]) -> str:
        if len(wnids) == 1:
            return wnids[0]
        known = "; ".join(
            f"{wnid} ({', '.join(self.lemmas[parent][0] for parent in self.parents[wnid])})" for wnid in wnids
        )
        raise DataError(f"'{name}' is the name of several synsets: give the wnid of one, {known}")

    def _nearest(self, word: str) -> str:
        forms = self._forms(word)
        matches = [match for form in forms for match in difflib.get_close_matches(form, self._any, n=1)]
        if not matches:
            return "give nouns of WordNet, such as dogs or terrier, or wnids, such as n02084071"

        def similarity(match: str) -> float:
            return max(difflib.SequenceMatcher(None, form, match).ratio() for form in forms)

        return f"did you mean '{max(matches, key=similarity)}'?"


def read_table(lines: Iterable[str]) -> WordNetNouns:
    """Parses lines of wnid, parents, words, irregular plurals, separated by tabs; `#` begins a comment."""
    lemmas, parents = {}, {}
    plurals: dict[str, tuple[str, ...]] = {}
    for line in lines:
        if line.startswith("#"):
            continue
        wnid, above, words, irregular = line.rstrip("\n").split("\t")
        lemmas[wnid] = tuple(words.split())
        parents[wnid] = tuple(above.split())
        for pair in irregular.split():
            plural, singular = pair.split("=")
            plurals[plural] = tuple(dict.fromkeys((*plurals.get(plural, ()), singular)))
    return WordNetNouns(lemmas, parents, plurals)


@cache
def nouns() -> WordNetNouns:
    with TABLE.open(encoding="utf-8") as stream:
        return read_table(stream)
