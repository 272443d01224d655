"""The term is the squared difference of logits, of variations that are shifts and mirror images."""

import pytest
import torch

from kennel.errors import RecipeError
from kennel.techniques import TECHNIQUES, Networks, _image_ops

REAL = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(0))
FAKE = torch.randn(40, 1, 8, 8, generator=torch.Generator().manual_seed(1))
WEIGHTS = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(2))


def test_the_term_is_the_mean_squared_difference_of_the_logits(make_power_players, make_play):
    consistency = TECHNIQUES["consistency"]()
    output = make_play(make_power_players(WEIGHTS), real=REAL, fake=FAKE)
    varied = consistency.varied(REAL, output.context, "real")
    expected = ((REAL - varied) * WEIGHTS).sum((1, 2, 3)).square().mean()
    assert expected > 1
    assert consistency.discriminator_term(output).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_fakes_count_by_their_own_weight(make_power_players, make_play):
    output = make_play(make_power_players(WEIGHTS), real=REAL, fake=FAKE)
    alone = TECHNIQUES["consistency"]().discriminator_term(output)
    both = TECHNIQUES["consistency"](fakes_weight=0.5).discriminator_term(output)
    varied = TECHNIQUES["consistency"]().varied(FAKE, output.context, "fake")
    fakes = ((FAKE - varied) * WEIGHTS).sum((1, 2, 3)).square().mean()
    assert (both - alone).item() == pytest.approx(fakes.item() / 2, rel=1e-5)


def test_a_discriminator_that_sees_no_shifts_is_not_punished(make_power_players, make_play):
    # The mean of an image is the same for all variations of a constant one.
    constant = torch.full((4, 1, 8, 8), 0.3)
    output = make_play(make_power_players(WEIGHTS), real=constant, fake=FAKE[:4])
    assert TECHNIQUES["consistency"]().discriminator_term(output).item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("padding", ["zero", "reflect"])
def test_every_variation_is_one_of_the_shifts_and_all_occur(padding, make_turn):
    ramp = (torch.arange(64.0).view(1, 1, 8, 8) + 1).expand(400, -1, -1, -1)
    consistency = TECHNIQUES["consistency"](padding=padding, shift=1 / 8)
    varied = consistency.varied(ramp, make_turn(), "real")
    possible = {}
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            moved = _image_ops.translate(ramp[:1], torch.tensor([down]), torch.tensor([right]), padding)
            for flip in (True, False):
                result = _image_ops.hflip(moved, torch.tensor([flip]))
                possible[tuple(result.flatten().tolist())] = (down, right, flip)
    assert len(possible) == 18
    found = [possible[tuple(image.flatten().tolist())] for image in varied]
    assert set(found) == set(possible.values())
    assert sum(flip for *_, flip in found) == pytest.approx(200, abs=50)  # five standard deviations


def test_without_shift_and_flip_nothing_varies(make_turn):
    consistency = TECHNIQUES["consistency"](shift=0, flip=0)
    assert torch.equal(consistency.varied(REAL, make_turn(), "real"), REAL)


def test_points_are_refused(make_power_players):
    networks: Networks = make_power_players(torch.ones(2, 1, 1))
    with pytest.raises(RecipeError, match="consistency needs images, and the recipe draws points"):
        TECHNIQUES["consistency"]().modify_networks(networks, torch.Generator())
