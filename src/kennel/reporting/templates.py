"""Templates of pages, with the style and the parts that pages share."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, PrefixLoader, StrictUndefined

import kennel
from kennel.reporting.charts import SERIES


def render(template: str, **values: object) -> str:
    """The page of a template such as "reporting/run.html.jinja", named by package and file.

    Values are escaped. Templates may include `reporting/style.css.jinja` and import
    `reporting/parts.html.jinja`.
    """
    return (
        _environment()
        .get_template(template)
        .render(version=kennel.__version__, series=list(enumerate(SERIES, 1)), **values)
    )


@cache
def _environment() -> Environment:
    packages = {name: PackageLoader(f"kennel.{name}", "") for name in ("reporting", "comparison")}
    loader: Any = PrefixLoader(packages)
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
