"""Which runs a study has, and where."""

import pytest

from kennel.errors import DataError, RecipeError
from kennel.studies.config import StudyConfig
from kennel.studies.matrix import matrix, write_recipes


def _study(**more):
    return StudyConfig(name="s", recipes={"a": {"recipe": "digits"}, "b": {"recipe": "digits"}}, **more)


def test_every_row_is_trained_on_every_set_with_every_seed_seeds_first(packed_set, tmp_path):
    sets = {"one": str(packed_set(size=16, name="one")), "two": str(packed_set(size=16, name="two"))}
    runs = matrix(_study(data=sets, seeds=2), tmp_path / "out")
    assert [run.label for run in runs][:4] == ["one/a/seed-0", "one/b/seed-0", "one/a/seed-1", "one/b/seed-1"]
    assert len(runs) == 8
    assert len({run.path for run in runs}) == 8
    assert runs[3].recipe.seed == 1
    assert runs[-1].set_path == tmp_path / "two"


def test_given_data_takes_the_place_of_the_studys(packed_set, tmp_path):
    (run, _) = matrix(_study(data={"x": "nowhere"}), tmp_path, {"mine": str(packed_set(size=16))})
    assert run.data == "mine"


def test_pictures_are_prepared_at_the_recipes_size(tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path / "cache"))
    (tmp_path / "photos").mkdir()
    for number in range(3):
        Image.new("L", (20, 20), 60 * number).save(tmp_path / "photos" / f"{number}.png")
    (run, _) = matrix(_study(data={"photos": str(tmp_path / "photos")}), tmp_path / "out")
    assert (run.set_path / "dataset.json").is_file()


def test_no_data_and_data_that_is_not_there_are_refused(tmp_path):
    with pytest.raises(RecipeError, match="names no data: give --data"):
        matrix(_study(), tmp_path)
    with pytest.raises(DataError, match="there is no set nowhere"):
        matrix(_study(data={"x": "nowhere"}), tmp_path)


def test_the_recipes_are_files_that_train_takes(packed_set, tmp_path):
    from kennel.recipes import load_recipe

    runs = matrix(_study(data={"x": str(packed_set(size=16))}, seeds=2), tmp_path)
    write_recipes(runs)
    assert load_recipe(str(runs[2].recipe_file)) == runs[2].recipe
