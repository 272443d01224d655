"""`kennel fetch`: download a released generator into the cache."""

import typer


def fetch(
    name: str | None = typer.Argument(None, help="A released generator; without a name, list all."),
    source: str | None = typer.Option(
        None, "--from", metavar="FILE|URL", help="Another source of the file, or your own generator."
    ),
    sha256: str | None = typer.Option(None, help="The expected checksum of the file."),
) -> None:
    """Download a released generator and verify its checksum.

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
            raise ReleaseError("--from and --sha256 need the name of a generator: give NAME too")
        _list()
        return
    with progress_bar("downloading (bytes)") as report:
        fetched = fetch_release(name, lambda path, text: load_file(path, name=text), source, sha256, report)
    console.message(f"{'Already there' if fetched.already else 'Fetched'}: {fetched.path}")
    verified = "as expected" if fetched.verified else "not verified: give the expected one with --sha256"
    console.message(f"sha256 {fetched.sha256}, {verified}")
    about = load_file(fetched.path).metadata
    release = released(name) if fetched.verified else None
    terms = about.license or (release.license if release else "") or "not stated"
    console.message(f"License: {terms}. {about.data.note}".rstrip())
    console.message(f"Sample from it: kennel sample {name} --grid {name}.png")


def _list() -> None:
    """Prints the releases and the other generators in the cache."""
    from kennel.cli.console import console, print_list
    from kennel.sampling.releases import RELEASES, fetched_names, place_of

    fetched = fetched_names()
    rows = []
    for name, release in RELEASES.items():
        size = "" if release.size is None else f"{release.size / 1e6:,.1f} MB, "
        lines = [release.description, f"{size}{release.license}", *release.scores]
        lines.append(release.address or release.file or "not published yet")
        lines.append(f"available: {place_of(name)}" if name in fetched else "not downloaded")
        rows.append((name, "\n".join(lines)))
    rows += [
        (name, f"fetched with --from\navailable: {place_of(name)}")
        for name in fetched
        if name not in RELEASES
    ]
    print_list(("generator", "images, license, scores, location"), rows, lines=True)
    console.print("kennel fetch NAME, or kennel fetch NAME --from FILE|URL")
