"""Style mixing."""

import numpy as np
import pytest
import torch

from kennel.errors import RunError, UnknownNameError
from kennel.images import to_uint8
from kennel.networks import StyleGenerator
from kennel.sampling.sampler import latents_of
from kennel.sampling.style_mixing import layers_of, style_mixing
from loaded import loaded


def test_the_levels_share_the_layers():
    for count in (4, 10, 14):
        layers = list(range(count))
        thirds = [layers[layers_of(level, count)] for level in ("coarse", "middle", "fine")]
        assert [layer for third in thirds for layer in third] == layers
    with pytest.raises(UnknownNameError, match="did you mean 'coarse'"):
        layers_of("coarsely", 4)


@torch.no_grad()
@pytest.mark.parametrize("level", ["coarse", "fine"])
def test_a_cell_has_the_columns_styles_in_these_layers(level):
    given = loaded("stylegan2")
    network = given.generator
    assert isinstance(network, StyleGenerator)
    picture = style_mixing(given, (3, 4), (7, 8, 9), level).pixels
    styles = network.map_latents(latents_of((4, 9), given.recipe.latent))
    mixed = styles[:1].clone()
    mixed[:, layers_of(level, styles.shape[1])] = styles[1:, layers_of(level, styles.shape[1])]
    side, factor = 66, 8

    def cell(row: int, column: int) -> np.ndarray:
        return picture[2 + row * side :, 2 + column * side :][:64:factor, :64:factor].astype(int)

    assert picture.shape == (3 * side + 2, 4 * side + 2)
    assert np.abs(cell(2, 3) - to_uint8(network.synthesize(mixed)).numpy()[0, 0]).max() <= 1
    assert np.abs(cell(0, 1) - given.samples_of((7,)).pixels()[0, 0]).max() <= 1
    assert np.abs(cell(2, 0) - given.samples_of((4,)).pixels()[0, 0]).max() <= 1
    assert cell(0, 0).min() == 255


def test_a_class_and_a_truncation_hold_for_all_cells():
    given = loaded("stylegan2", classes=3)
    first, second = (style_mixing(given, (0,), (1,), label=label).pixels for label in (0, 1))
    assert not np.array_equal(first, second)
    mean = style_mixing(given, (0,), (1,), label=0, truncation=0.0).pixels
    assert np.abs(mean[68:132, 2:66].astype(int) - mean[68:132, 68:132]).max() <= 1


def test_a_generator_without_styles_is_refused():
    with pytest.raises(RunError, match="has no styles to mix"):
        style_mixing(loaded(), (0,), (1,))
