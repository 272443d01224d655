"""The table of nouns: made from a made-up data.noun, and the one that kennel carries."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from kennel.data.sources.wordnet import TABLE, WordNetNouns, nouns, read_table
from kennel.errors import DataError, UnknownNameError

# As in wndb(5WN): offset, file, type, words in hexadecimal, word and lex_id each, pointers, | gloss.
DATA_NOUN = """\
  1 This software and database is being provided to you, the LICENSEE, by
  2 Princeton University under the following license.
00000001 03 n 01 entity 0 001 ~ 00000002 0000 | that which is
00000002 03 n 02 animal 0 beast 0 003 @ 00000001 n 0000 ~ 00000003 n 0000 ~ 00000005 n 0000 | it moves
00000003 05 n 03 wolf 0 Canis_lupus 0 grey_wolf 1 002 @ 00000002 n 0000 %m 00000009 n 0000 | it howls
00000004 05 n 01 pup 0 002 @ 00000003 n 0000 @ 00000005 n 0000 | a young one | of several kinds
00000005 05 n 0a a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 i 0 house_cat 0 001 @ 00000002 n 0000 | it purrs
00000006 06 n 01 artifact 0 001 @ 00000001 n 0000 | it is made
00000007 06 n 01 crane 0 001 @ 00000006 n 0000 | it lifts
00000008 06 n 01 spade 0 001 @ 00000006 n 0000 | it digs
00000009 18 n 01 Fenrir 0 001 @i 00000003 n 0000 | an instance
"""
NOUN_EXC = "wolves wolf\nwolfs wolf wolfe\noxen ox\npup pup\n"


@pytest.fixture(scope="module")
def script() -> ModuleType:
    path = Path(__file__).parents[3] / "scripts" / "wordnet_table.py"
    spec = importlib.util.spec_from_file_location("wordnet_table", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_table_is_made_of_what_lies_below_the_top_and_above_the_wnids_given(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data.noun").write_text(DATA_NOUN)
    (tmp_path / "noun.exc").write_text(NOUN_EXC)
    (tmp_path / "wnids").write_text("n00000007\n")
    arguments = ["", str(tmp_path), str(tmp_path / "out.tsv"), "--below", "n00000002"]
    monkeypatch.setattr("sys.argv", [*arguments, "--also", str(tmp_path / "wnids")])
    script.main()
    lines = (tmp_path / "out.tsv").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#")] == [
        "n00000001\t\tentity\t",
        "n00000002\tn00000001\tanimal beast\t",
        "n00000003\tn00000002\twolf Canis_lupus grey_wolf\twolves=wolf wolfs=wolf",
        "n00000004\tn00000003 n00000005\tpup\t",
        "n00000005\tn00000002\ta b c d e f g h i house_cat\t",
        "n00000006\tn00000001\tartifact\t",
        "n00000007\tn00000006\tcrane\t",
        "n00000009\tn00000003\tFenrir\t",
    ]
    assert "Copyright 2006 by Princeton University" in lines[1]
    table = read_table((tmp_path / "out.tsv").read_text().splitlines())
    assert table.below("n00000003") == {"n00000003", "n00000004", "n00000009"}
    for name in ("wolf", "Wolves", "wolfs", "canis lupus", "grey wolves", "n00000003"):
        assert table.find(name) == "n00000003"
    assert table.label("n00000003") == "n00000003-wolf"


def test_without_wnids_the_table_ends_above_its_top(script: ModuleType) -> None:
    words, above = script.read_nouns(DATA_NOUN.splitlines(keepends=True))
    assert script.select(above, "n00000003", []) == {
        *("n00000001", "n00000002", "n00000003", "n00000004", "n00000005", "n00000009")
    }
    assert words["n00000005"][-1] == "house_cat"


@pytest.mark.parametrize(
    ("names", "wnid", "count"),
    [
        (("dog", "dogs", "Canis familiaris"), "n02084071", 190),
        (("cat", "cats", "true_cat"), "n02121620", 39),
        (("fish", "fishes"), "n02512053", 618),
        (("butterfly", "butterflies"), "n02274259", 33),
        (("bird", "birds"), "n01503061", 872),
        (("feline", "felids"), "n02120997", 60),
        (("animals",), "n00015388", 4017),
        (("wolves",), "n02114100", 7),
        (("geese",), "n01855672", 11),
        (("persian_cat", "Persian cats", "n02123394"), "n02123394", 1),
    ],
)
def test_names_in_singular_and_plural_are_synsets_of_wordnet(
    names: tuple[str, ...], wnid: str, count: int
) -> None:
    assert {nouns().find(name) for name in names} == {wnid}
    assert len(nouns().below(wnid)) == count


def test_well_known_synsets_lie_where_wordnet_has_them() -> None:
    table = nouns()
    for name, wnid in (
        *(("dog", "n02085620"), ("cat", "n02123045"), ("fish", "n01443537")),
        *(("butterfly", "n02279972"), ("bird", "n01530575")),
    ):
        assert wnid in table.below(table.find(name))
    assert "n02129165" not in table.below(table.find("cats"))  # a lion is a feline and a big cat
    assert "n02129165" in table.below(table.find("felines"))
    assert "n02116738" not in table.below(table.find("dogs"))  # nor is the African hunting dog one
    assert table.label("n02085620") == "n02085620-Chihuahua"
    assert table.label("n99999999") == "n99999999"


def test_a_name_that_nothing_has_is_answered_with_the_nearest() -> None:
    for name, nearest in (("terier", "terrier"), ("teriers", "terrier"), ("bufterflies", "butterfly")):
        with pytest.raises(UnknownNameError, match=f"did you mean '{nearest}'"):
            nouns().find(name)
    with pytest.raises(UnknownNameError, match="such as dogs or terrier"):
        nouns().find("xyzzyq")


def test_a_name_of_several_synsets_is_answered_with_their_wnids() -> None:
    with pytest.raises(DataError, match=r"n02012849 \(wading_bird\); n03126707 \(lifting_device\)"):
        nouns().find("cranes")


def test_every_parent_is_in_the_table_and_the_licence_lies_beside_it() -> None:
    table = nouns()
    assert {parent for above in table.parents.values() for parent in above} <= set(table.lemmas)
    assert isinstance(table, WordNetNouns)
    assert TABLE.stat().st_size < 300_000
    licence = TABLE.with_name("wordnet_licence.txt").read_text()
    assert "WordNet 3.0 Copyright 2006 by Princeton University.  All rights reserved." in licence
