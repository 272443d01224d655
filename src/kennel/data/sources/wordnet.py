"""The part of WordNet's nouns that names what ImageNet's pictures show.

ImageNet names a class by a wnid, "n" and the offset of a noun in WordNet 3.0 (Miller 1995). The table in
`wordnet_nouns.tsv` has all animals, and what else the 1,000 classes of ILSVRC2012 lie below; it is made by
`scripts/wordnet_table.py`, and `wordnet_licence.txt` beside it is the licence of WordNet.
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

# WordNet's own rules for the plurals of nouns (morphy); the irregular ones are in the table.
_ENDINGS = (
    *(("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh")),
    *(("men", "man"), ("ies", "y")),
)


@dataclass
class WordNetNouns:
    """A table of synsets. Spelling is indifferent to capitals, and spaces are underscores."""

    lemmas: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Each wnid to its words; the first is what the synset is called."""
    parents: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Each wnid to the wnids directly above it."""
    plurals: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Irregular plurals to their singulars."""

    def __post_init__(self) -> None:
        self._called: dict[str, list[str]] = {}
        self._any: dict[str, list[str]] = {}
        for wnid, words in self.lemmas.items():
            self._called.setdefault(words[0].lower(), []).append(wnid)
            for word in dict.fromkeys(word.lower() for word in words):
                self._any.setdefault(word, []).append(wnid)
        self._children: dict[str, list[str]] = {}
        for wnid, above in self.parents.items():
            for parent in above:
                self._children.setdefault(parent, []).append(wnid)

    def find(self, name: str) -> str:
        """The wnid that a word in singular or plural means, or the wnid that it is.

        A word means the synset that is called so (its first word), before any that also has it as another:
        `cat` is the true cat and not the big cat. Raises `UnknownNameError` with the nearest word, and
        `DataError` where the word alone does not say which synset is meant.
        """
        if WNID.fullmatch(name):
            return name
        word = "_".join(name.lower().split())
        for words in (self._called, self._any):
            for form in self._forms(word):
                if form in words:
                    return self._only(name, words[form])
        raise UnknownNameError(f"there is no synset '{name}' of ImageNet: {self._nearest(word)}")

    def below(self, wnid: str) -> set[str]:
        """The synset and everything below it."""
        found, waiting = {wnid}, [wnid]
        while waiting:
            new = [child for child in self._children.get(waiting.pop(), ()) if child not in found]
            found.update(new)
            waiting += new
        return found

    def label(self, wnid: str) -> str:
        """`n02085620-Chihuahua`, as Stanford Dogs has it; the wnid alone where it is not in the table."""
        return f"{wnid}-{self.lemmas[wnid][0]}" if wnid in self.lemmas else wnid

    def _forms(self, word: str) -> tuple[str, ...]:
        regular = (
            word.removesuffix(ending) + singular for ending, singular in _ENDINGS if word.endswith(ending)
        )
        start, _, last = word.rpartition("_")
        irregular = (f"{start}_{form}".removeprefix("_") for form in self.plurals.get(last, ()))
        return word, *irregular, *regular

    def _only(self, name: str, wnids: list[str]) -> str:
        if len(wnids) == 1:
            return wnids[0]
        known = "; ".join(
            f"{wnid} ({', '.join(self.lemmas[parent][0] for parent in self.parents[wnid])})" for wnid in wnids
        )
        raise DataError(f"'{name}' means several synsets: give the wnid of one, {known}")

    def _nearest(self, word: str) -> str:
        forms = self._forms(word)
        near = [match for form in forms for match in difflib.get_close_matches(form, self._any, n=1)]
        if not near:
            return "give nouns of WordNet, such as dogs or terrier, or wnids, such as n02084071"

        def likeness(match: str) -> float:
            return max(difflib.SequenceMatcher(None, form, match).ratio() for form in forms)

        return f"did you mean '{max(near, key=likeness)}'?"


def read_table(lines: Iterable[str]) -> WordNetNouns:
    """The table from its lines: wnid, wnids above, words, irregular plurals, with tabs between them.

    What begins with `#` is a remark; several in one place have spaces between them.
    """
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
    """The table that kennel carries."""
    with TABLE.open(encoding="utf-8") as stream:
        return read_table(stream)
