"""The pages for people say only what the commands, the registries and the files bear out."""

import ast
import importlib
import re
import shlex
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import typer

import kennel
import kennel.cli
import kennel.evaluation.metrics.builtin
from kennel import errors
from kennel.cli.recipe_and_data import recipe_and_data
from kennel.config.base import validated
from kennel.config.recipe import Recipe, override
from kennel.engine.builder import build_loss, build_techniques
from kennel.errors import KennelError
from kennel.evaluation.metrics.base import ALIASES, GROUPS, METRICS, ORDER
from kennel.evaluation.metrics.context import MetricSettings
from kennel.losses import LOSSES
from kennel.networks import DISCRIMINATORS, GENERATORS
from kennel.recipes import RECIPES, get_recipe
from kennel.techniques import TECHNIQUES, Technique
from kennel.training.auto_recipe import AUTO

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
COMMAND = typer.main.get_command(kennel.cli.app)
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)

OWN_TECHNIQUE = re.compile(r'@(?:TECHNIQUES\.register|kennel\.register_technique)\("(\w+)"\)')

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks in this language."""
    return blocks_of(page.read_text(encoding="utf-8"), language)


def blocks_of(text: str, language: str) -> list[str]:
    """The fenced blocks of a text in this language."""
    return [code for name, code in FENCE.findall(text) if name == language]


def commands(page: Path) -> Iterator[str]:
    """Every line of a bash block that calls kennel, continued lines joined."""
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            stripped = line.strip().removeprefix("$ ")
            if stripped.startswith("kennel "):
                yield stripped


def understood(line: str) -> tuple[str, dict[str, object]]:
    """The sub-command of a line and its parameters; raises what the command line would say."""
    arguments = shlex.split(line, comments=True)[1:]
    command, path = COMMAND, ["kennel"]
    while hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        name = arguments.pop(0)
        assert name in command.commands, f"`{line}`: {' '.join(path)} has no command '{name}'"
        command = command.commands[name]
        path.append(name)
    known = {"--help"}
    for parameter in command.params:
        known.update(parameter.opts, parameter.secondary_opts)
    options = [one.partition("=")[0] for one in arguments if one.startswith("--")]
    unknown = [option for option in options if option not in known]
    assert unknown == [], f"`{line}`: {' '.join(path)} has no {', '.join(unknown)}"
    if hasattr(command, "commands") or "--help" in arguments:
        return " ".join(path), {}
    with command.make_context(" ".join(path), arguments) as context:
        return " ".join(path), dict(context.params)


def check(recipe: Recipe) -> None:
    """Raises what `kennel train` would say of this recipe before it looks at any data."""
    build_techniques(recipe, build_loss(recipe))
    for registry, part in ((GENERATORS, recipe.generator), (DISCRIMINATORS, recipe.discriminator)):
        validated(registry[part.name].Options, part.options, part.name)


def slugs(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ +(.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("kennel trian digits", "has no command 'trian'"),
        ("kennel train digits --data a --out b --imagse 3", "has no --imagse"),
        ("kennel sample run --count many", "integer"),
    ],
)
def test_a_wrong_line_would_be_noticed(line, message):
    with pytest.raises(Exception, match=message):
        understood(line)


@pages
def test_every_command_is_one_that_kennel_understands(page):
    for line in commands(page):
        understood(line)


@pages
def test_every_recipe_and_setting_of_a_command_is_accepted(page):
    for line in commands(page):
        path, parameters = understood(line)
        name = parameters.get("name")
        if path in ("kennel train", "kennel plan"):
            words = (parameters["first"], parameters["second"])
            name, _ = recipe_and_data(path, words, parameters["recipe"], parameters["data"])
        if path not in ("kennel train", "kennel plan", "kennel recipes") or not name or name.isupper():
            continue
        if not str(name).endswith((".yaml", ".yml", ".json")):
            name = "projected" if name == AUTO else name  # what it is for most sets
            check(override(get_recipe(name), parameters.get("settings", ())))


@pages
def test_every_setting_in_the_text_is_accepted(page):
    # With classes, which some techniques need.
    everything = override(
        get_recipe("digits"),
        [
            "num_classes=null",
            *(f"techniques.{name}=on" for name in TECHNIQUES),
            "techniques.feature_matching.adversarial=true",  # top_k has nothing to choose from otherwise
        ],
    )
    text = page.read_text(encoding="utf-8")
    own = re.findall(OWN_TECHNIQUE, text)
    for found in re.findall(r'--set ("[^"\n]+=[^"\n]+"|[\w.]+=[^\s`"]+)', FENCE.sub("", text)):
        setting = found.strip('"').rstrip(",;:)")
        if re.search(r"\b[A-Z]{2,}\b", setting) or any(f"techniques.{name}" in setting for name in own):
            continue
        try:
            check(override(everything, [setting]))
        except KennelError as error:
            pytest.fail(f"--set {setting}: {error}")


@pages
def test_every_technique_that_is_addressed_exists_with_its_option(page):
    text = page.read_text(encoding="utf-8")
    own = re.findall(OWN_TECHNIQUE, text)
    for name, option in re.findall(r"(?<!/)\btechniques\.([a-z]\w*)(?:\.([a-z]\w*))?\b(?!\()", text):
        if name in own or f"import {name}" in text:
            continue
        assert name in TECHNIQUES, f"techniques.{name}"
        assert not option or option in TECHNIQUES[name].model_fields, f"techniques.{name}.{option}"


@pytest.mark.parametrize("name", list(TECHNIQUES))
def test_every_technique_has_a_page_with_its_options_and_its_switch(name):
    text = (DOCS / "techniques" / f"{name}.md").read_text(encoding="utf-8")
    for option in set(TECHNIQUES[name].model_fields) - set(Technique.model_fields):
        assert f"`{option}`" in text
    assert f"techniques.{name}=off" in text
    assert f"techniques.{name}=on" in text or f"techniques.{name}." in text
    assert f"({name}.md)" in (DOCS / "techniques" / "index.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", list(LOSSES))
def test_every_loss_has_its_section(name):
    assert name in slugs(DOCS / "losses.md")


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_has_a_page_with_its_command(name):
    page = DOCS / "recipes" / f"{name.partition('.')[0]}.md"
    assert any(line.startswith(f"kennel train {name} ") for line in commands(page))


NEEDS = {"logits": "logits", "labels": "labels", "pyramid": "squares of 16, 32, 64, ... pixels"}
"""How the table of metrics words what one needs."""


def metric_rows() -> list[list[str]]:
    """The table of evaluation.md, a list of cells for each row."""
    table = section(DOCS / "evaluation.md", "All metrics")
    return [
        [cell.strip() for cell in row.split("|")[1:-1]]
        for row in re.findall(r"^\| `.*$", table, re.MULTILINE)
    ]


def section(page: Path, title: str) -> str:
    """What stands between this heading and the next of its level."""
    _, _, rest = page.read_text(encoding="utf-8").partition(f"\n## {title}\n")
    return rest.partition("\n## ")[0]


def test_every_metric_has_its_row_in_the_table_in_the_order_of_judgements():
    assert [row[0] for row in metric_rows()] == [f"`{name}`" for name in ORDER]
    assert set(ORDER) == set(METRICS)


@pytest.mark.parametrize("row", metric_rows(), ids=lambda row: row[0].strip("`"))
def test_a_row_of_the_table_of_metrics_is_true(row):
    name, label, sees, better, needs, when = row
    found = METRICS[name.strip("`")]
    assert sees
    assert (label, better) == (found.label, found.direction)
    assert {need for need, words in NEEDS.items() if words in needs} == found.needs
    assert when == {True: "usual", "learned": "usual, not by `pixels`", False: "on request"}[found.default]


@pytest.mark.parametrize("name", [*ALIASES, *GROUPS])
def test_other_names_and_groups_of_metrics_are_explained(name):
    assert f"`{name}`" in section(DOCS / "evaluation.md", "All metrics")


def test_every_option_of_judging_is_explained_where_metrics_or_the_tutorial_are():
    text = "".join(
        (DOCS / name).read_text(encoding="utf-8")
        for name in ("evaluation.md", "quickstart.md", "training.md")
    )
    for one in COMMAND.commands["judge"].params:
        names = [name for name in (*one.opts, *one.secondary_opts) if name.startswith("--")]
        assert not names or any(name in text for name in names), names


def test_every_setting_of_judging_is_explained():
    text = section(DOCS / "api.md", "Judging")
    assert [one.name for one in fields(MetricSettings) if f"`{one.name}`" not in text] == []


def test_the_program_with_metrics_on_bare_features_runs(capsys):
    (bare_features,) = blocks_of(section(DOCS / "api.md", "Judging"), "python")
    exec(compile(bare_features, "api.md", "exec"), {})
    figures = [float(word) for word in capsys.readouterr().out.split()]
    assert len(figures) == 6
    assert all(0 < figure < 1.5 for figure in figures)


@pages
def test_every_relative_link_leads_to_something(page):
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        found = page.parent / path if path else page
        assert found.exists(), target
        assert not anchor or anchor in slugs(found), target


@pages
def test_every_python_block_compiles_and_imports_what_is_there(page):
    for code in blocks(page, "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "kennel":
                module = importlib.import_module(node.module)
                missing = [alias.name for alias in node.names if not hasattr(module, alias.name)]
                assert missing == [], f"{node.module} has no {', '.join(missing)}"


def test_every_error_that_is_named_exists():
    text = (DOCS / "api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(?:kennel\.errors\.)?(\w+Error)`", text))
    there = {name for name in vars(errors) if name.endswith("Error")}
    assert named == there


def test_every_public_name_is_in_the_table_of_the_api():
    table = section(DOCS / "api.md", "Main functions")
    named = set(re.findall(r"^\| (.*?) \|", table, re.MULTILINE))
    cells = " ".join(named)
    assert [name for name in kennel.__all__ if not re.search(rf"`{name}\b", cells)] == []


def test_the_index_leads_to_every_page_but_the_single_techniques():
    linked = set(re.findall(r"\]\(([^)#\s]+)\)", (DOCS / "index.md").read_text(encoding="utf-8")))
    found = {page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")}
    single = {f"techniques/{name}.md" for name in TECHNIQUES}
    assert found - single - {"index.md"} <= linked
