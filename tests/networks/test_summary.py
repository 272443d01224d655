"""A network's size is the number of its trained values, and the page for people tells it truly."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.networks.summary import parameter_count, parameters_at

PAGE = Path(__file__).parents[2] / "docs" / "networks.md"
FAMILY = ("sngan", "sagan", "biggan", "biggan_deep")
PAIR = r"(\d+\.\d+) \+ (\d+\.\d+)"
ROW = re.compile(rf"^\| (?:`(\w+)`)? ?\| (\d+) \| (\d+) \| {PAIR} \| {PAIR} \| {PAIR} \|$", re.MULTILINE)


def rows():
    """Name, image size, latent, and the six sizes, of each row of the page's table."""
    found, name = [], ""
    for match in ROW.finditer(PAGE.read_text(encoding="utf-8")):
        name = match[1] or name
        found.append((name, int(match[2]), int(match[3]), [float(value) for value in match.groups()[3:]]))
    return found


def test_a_network_on_the_meta_device_is_counted_and_costs_nothing():
    with torch.device("meta"):
        network = nn.Sequential(nn.Linear(10**6, 10**6), nn.BatchNorm1d(7), nn.Embedding(3, 5))
    assert parameter_count(network) == 10**12 + 10**6 + 2 * 7 + 15  # running statistics are not trained


def test_the_page_has_a_row_for_every_size_of_every_pair():
    assert [row[:2] for row in rows()] == [(name, size) for name in FAMILY for size in GENERATORS[name].sizes]


@pytest.mark.parametrize(("name", "size", "latent", "millions"), rows())
def test_the_page_tells_the_size_of_every_pair(name, size, latent, millions):
    found = []
    with torch.device("meta"):
        for classes in (0, 120, 1000):
            for registry in (GENERATORS, DISCRIMINATORS):
                network = registry[name]
                built = network(NetworkSpec(size, 3, latent, classes), network.Options())
                found.append(round(parameter_count(built) / 1e6, 2))
    assert found == millions


@pytest.mark.parametrize("name", FAMILY)
def test_the_page_has_a_section_for_every_pair_and_names_every_option(name):
    text = PAGE.read_text(encoding="utf-8")
    assert f"\n## {name}\n" in text
    for registry in (GENERATORS, DISCRIMINATORS):
        for option in registry[name].Options.model_fields:
            assert f"`{option}`" in text


@pytest.mark.parametrize("name", sorted({*GENERATORS, *DISCRIMINATORS}))
def test_the_page_tells_the_parameters_of_every_network_at_its_native_setting(name):
    """A generator or a discriminator that has no partner of its name leaves the other cell empty."""
    both = [dict(kind.items()).get(name) for kind in (GENERATORS, DISCRIMINATORS)]
    native = next(network for network in both if network is not None).paper_spec
    counts = [network and parameters_at(network, native) for network in both]
    row = next(
        line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith(f"| `{name}`")
    )
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[5:7] == ["" if count is None else f"{count:,}" for count in counts]
    assert cells[2].startswith(f"{native.size}x{native.size}")
    assert cells[3] == (str(native.latent_dim) if both[0] is not None else "")
