"""The anchors are averages of the past, and the term is what lies beyond them."""

import pytest
import torch

from kennel.techniques import TECHNIQUES

IDENTITY = torch.ones(1, 1, 1)  # D(x) = x for images of one pixel


def pixels(*values):
    return torch.tensor(values).view(-1, 1, 1, 1)


@pytest.fixture
def plays(make_power_players, make_play, make_turn):
    networks = make_power_players(IDENTITY)

    def output(real, fake, images_seen=0, share=10.0):
        context = make_turn(images_seen=images_seen, share=share)
        return make_play(networks, real=pixels(*real), fake=pixels(*fake), context=context)

    return output


def anchors(lecam):
    return [value.item() for value in lecam.anchors()]


def test_the_first_turn_is_the_whole_average(plays):
    lecam = TECHNIQUES["lecam"]()
    assert lecam.statistics() == {}
    lecam.after_discriminator(plays([2.0, 4.0], [-1.0, -3.0]))
    assert anchors(lecam) == pytest.approx([3.0, -2.0])
    assert {key: value.item() for key, value in lecam.statistics().items()} == pytest.approx(
        {"real_anchor": 3.0, "fake_anchor": -2.0}
    )


@pytest.mark.parametrize("turns", [1, 5])
def test_after_a_half_life_an_old_average_counts_half(turns, plays):
    lecam = TECHNIQUES["lecam"](half_life_images=1000)
    for _ in range(50):  # long enough that there was nothing before
        lecam.after_discriminator(plays([2.0, 2.0], [-4.0, -4.0], share=1000.0))
    for _ in range(turns):
        lecam.after_discriminator(plays([6.0, 6.0], [0.0, 0.0], share=1000.0 / turns))
    assert anchors(lecam) == pytest.approx([4.0, -2.0])


def test_the_half_life_is_the_published_decay_at_a_batch_of_64(plays):
    lecam = TECHNIQUES["lecam"]()
    assert 0.5 ** (64 / lecam.half_life_images) == pytest.approx(0.99, abs=1e-4)
    assert lecam.start_images == 64 * 1000
    assert lecam.weight == 0.3


def test_the_term_is_the_square_of_what_lies_beyond_the_other_sides_anchor(plays):
    lecam = TECHNIQUES["lecam"](start_images=0, half_life_images=1e9)
    for _ in range(2):  # averages that one more turn of the same means leaves as they are
        lecam.after_discriminator(plays([2.0, 2.0], [-1.0, -1.0]))  # anchors 2 and -1
    term = lecam.discriminator_term(plays([7.0, -3.0], [-7.0, 5.0]))
    # Reals above -1: 8 and nothing; fakes below 2: 9 and nothing.
    assert term.item() == pytest.approx((8.0**2 + 0) / 2 + (9.0**2 + 0) / 2)


@pytest.mark.parametrize("turns", [0, 1, 4])
def test_the_anchors_hold_this_turns_logits_as_in_the_papers_code(turns, plays):
    """Decay 0.99, the average without the bias towards 0, brought up to date before the distance is taken."""
    lecam = TECHNIQUES["lecam"](start_images=0)
    random = torch.Generator().manual_seed(0)
    sums, weight = torch.zeros(2, dtype=torch.float64), 0.0
    for context in range(turns + 1):
        real, fake = torch.randn(2, 8, generator=random)
        decay = 0.5 ** (64 / 4400)
        sums = decay * sums + (1 - decay) * torch.stack([real.mean(), fake.mean()])
        weight = decay * weight + (1 - decay)
        output = plays(real.tolist(), fake.tolist(), share=64.0)
        if context < turns:
            lecam.after_discriminator(output)
    real_anchor, fake_anchor = (sums / weight).float()
    expected = (real - fake_anchor).relu().square().mean() + (real_anchor - fake).relu().square().mean()
    assert lecam.discriminator_term(output).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_term_moves_no_anchor_and_the_anchors_learn_nothing_from_gradients(plays):
    lecam = TECHNIQUES["lecam"](start_images=0)
    lecam.after_discriminator(plays([2.0, 2.0], [-1.0, -1.0]))
    before = anchors(lecam)
    output = plays([7.0, 7.0], [7.0, 7.0])
    lecam.discriminator_term(output)
    assert anchors(lecam) == before
    lecam.after_discriminator(output)
    assert not any(anchor.requires_grad for anchor in lecam.anchors())


def test_nothing_is_added_before_the_start(plays):
    lecam = TECHNIQUES["lecam"](start_images=500)
    lecam.after_discriminator(plays([2.0, 2.0], [-1.0, -1.0]))
    assert lecam.discriminator_term(plays([1.0, 1.0], [0.0, 0.0], images_seen=499)) is None
    assert lecam.discriminator_term(plays([1.0, 1.0], [0.0, 0.0], images_seen=500)) is not None


def test_the_past_is_remembered(plays):
    lecam = TECHNIQUES["lecam"](start_images=0)
    for value in (1.0, 5.0):
        lecam.after_discriminator(plays([value, value], [-value, 0.0]))
    again = TECHNIQUES["lecam"](start_images=0)
    again.load_state_dict({name: value.clone() for name, value in lecam.state_dict().items()})
    assert anchors(again) == anchors(lecam)
    for one in (lecam, again):
        one.after_discriminator(plays([9.0, 9.0], [2.0, 2.0]))
    assert anchors(again) == anchors(lecam)


def test_two_techniques_do_not_share_a_past(plays):
    one, other = TECHNIQUES["lecam"](), TECHNIQUES["lecam"]()
    one.after_discriminator(plays([2.0, 2.0], [-1.0, -1.0]))
    assert other.statistics() == {}
