"""`kennel fetch`: a released generator into the cache, checked."""

from typing import Any

import typer


def fetch(
    name: str | None = typer.Argument(None, help="A released generator; without it, all are listed."),
    source: str | None = typer.Option(
        None, "--from", metavar="FILE|URL", help="Another place of the file, or a generator of your own."
    ),
    sha256: str | None = typer.Option(None, help="The checksum that the file must have."),
) -> None:
    """Download a released generator, checked, to be sampled from by its name.

    It is kept in the cache ($KENNEL_CACHE): `kennel sample NAME` and `kennel judge NAME` take it like a run.

    Example: kennel fetch
    """
    from kennel.cli.console import console, progress_bar
    from kennel.errors import ReleaseError
    from kennel.sampling.releases import fetch as fetch_release
    from kennel.sampling.releases import released
    from kennel.sampling.resolve import load_file

    if name is None:
        if source is not None or sha256 is not None:
            raise ReleaseError("--from and --sha256 are of one generator: give its name too")
        _list()
        return
    with progress_bar("downloading (bytes)") as report:
        fetched = fetch_release(
            name, lambda path, given: _ignore(load_file(path, name=given)), source, sha256, report
        )
    console.print(f"{'Already there' if fetched.already else 'Fetched'}: {fetched.path}", soft_wrap=True)
    vouched = "as expected" if fetched.vouched else "which nothing vouches for: --sha256 holds it to one"
    console.print(f"sha256 {fetched.sha256}, {vouched}", soft_wrap=True)
    words = load_file(fetched.path).words
    release = released(name) if fetched.vouched else None
    terms = words.license or (release.license if release else "") or "not stated"
    console.print(f"License: {terms}. {words.data.note}".rstrip(), soft_wrap=True)
    console.print(f"Sample from it: kennel sample {name} --grid {name}.png", soft_wrap=True)


def _ignore(_: Any) -> None:
    """A check has nothing to give."""


def _list() -> None:
    """The catalog, and what else has been fetched."""
    from rich.table import Table
    from rich.text import Text

    from kennel.cli.console import console
    from kennel.sampling.releases import RELEASES, names_at_hand, place_of

    table = Table(show_lines=True)
    table.add_column("generator", no_wrap=True, style="bold")
    table.add_column("what it draws, its license, its scores, where it is or comes from", overflow="fold")
    here = names_at_hand()
    for name, release in RELEASES.items():
        size = "" if release.size is None else f"{release.size / 1e6:,.1f} MB, "
        lines = [release.description, f"{size}{release.license}", *release.scores]
        lines.append(release.address or "no release is published yet")
        lines.append(f"at hand: {place_of(name)}" if name in here else "not at hand")
        table.add_row(name, Text("\n".join(lines)))
    for name in here:
        if name not in RELEASES:
            table.add_row(name, Text(f"fetched with --from\nat hand: {place_of(name)}"))
    console.print(table)
    console.print("kennel fetch NAME, or kennel fetch NAME --from FILE|URL")
