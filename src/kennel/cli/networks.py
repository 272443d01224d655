"""`kennel networks`: image sizes and parameter counts of the networks."""


def networks() -> None:
    """List the networks with their image sizes and their parameter counts in the setting of their paper.

    Example: kennel networks
    """
    from rich.table import Table

    from kennel.cli.console import console
    from kennel.networks import DISCRIMINATORS, GENERATORS
    from kennel.networks.summary import parameters_at

    table = Table(box=None, pad_edge=False)
    table.add_column("networks", no_wrap=True)
    for heading in ("native", "classes", "latent", "generator", "discriminator"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("sizes")
    for name in sorted({*GENERATORS, *DISCRIMINATORS}):
        kind = GENERATORS[name] if name in GENERATORS else DISCRIMINATORS[name]
        native = kind.paper_spec
        table.add_row(
            name,
            f"{native.size}x{native.size}x{native.channels}",
            f"{native.num_classes:,}" if native.num_classes else "-",
            str(native.latent_dim),
            f"{parameters_at(GENERATORS[name], native):,}" if name in GENERATORS else "-",
            f"{parameters_at(DISCRIMINATORS[name], native):,}" if name in DISCRIMINATORS else "-",
            ", ".join(map(str, kind.sizes)) or "any",
        )
    console.print(table)
    console.print("\nParameters in the native setting, with default options.")
