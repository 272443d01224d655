"""How real and fake images go through the discriminator: together, or apart."""

import pytest
import torch

from kennel.engine.compute import ComputeContext
from kennel.engine.forward import DiscriminatorForward
from kennel.networks import DISCRIMINATORS, GENERATORS, NetworkSpec
from kennel.techniques import TECHNIQUES, Networks, StepContext, Technique

SETTING = NetworkSpec(8, 1, 4)


def networks(batch_norm: bool) -> Networks:
    torch.manual_seed(0)
    generator = GENERATORS["dcgan"](SETTING, GENERATORS["dcgan"].Options(base_channels=4))
    kind = DISCRIMINATORS["dcgan"]
    return Networks(generator, kind(SETTING, kind.Options(base_channels=4, batch_norm=batch_norm)))


def batches_seen(both: Networks, twice: bool) -> list[int]:
    sizes: list[int] = []
    both.discriminator.first.register_forward_pre_hook(lambda module, entry: sizes.append(len(entry[0])))
    images = torch.zeros(3, 1, 8, 8)
    context = StepContext(0, 100, "discriminator", 0, 0, torch.device("cpu"))
    DiscriminatorForward(both, (), ComputeContext()).forward(
        context, torch.zeros(3, 4), None, images, images, twice
    )
    return sizes


def test_images_go_together():
    assert batches_seen(networks(batch_norm=False), twice=False) == [6]


def test_a_discriminator_that_compares_images_sees_the_sides_apart():
    both = networks(batch_norm=False)
    both.discriminator.compares_images = True
    assert batches_seen(both, twice=False) == [3, 3]


def test_styles_are_changed_by_every_technique_before_an_image_is_drawn():
    kind = GENERATORS["stylegan2"]
    torch.manual_seed(0)
    generator = kind(SETTING, kind.Options(channel_base=32, channel_max=4, style=4, mapping_layers=1)).eval()
    given = generator.map_latents(torch.randn(3, 4))

    class Doubling(Technique):
        def transform_styles(self, styles, mapped, context):
            assert torch.equal(mapped(torch.ones(3, 4)), generator.map_latents(torch.ones(3, 4)))
            return 2 * styles

    latents = torch.randn(3, 4)
    context = StepContext(0, 100, "discriminator", 0, 0, torch.device("cpu"))
    both = Networks(generator, networks(False).discriminator)
    drawn = DiscriminatorForward(both, (Doubling(), Doubling()), ComputeContext()).generate(
        latents, None, context
    )
    assert torch.equal(drawn, generator.synthesize(4 * generator.map_latents(latents)))
    plain = DiscriminatorForward(both, (Technique(),), ComputeContext())
    assert torch.equal(plain.generate(latents, None, context), generator(latents))
    output = plain.forward(context, latents, None, None, drawn)
    assert torch.equal(output.generate(given), generator.synthesize(given))


def test_where_a_penalty_wants_one_sides_gradient_the_sides_go_apart():
    assert batches_seen(networks(batch_norm=False), twice=True) == [3, 3]


@pytest.mark.parametrize("name", ["r1", "r2"])
def test_batch_norm_which_would_notice_keeps_them_together(name):
    both = networks(batch_norm=True)
    # 8x8 has one layer of 4 channels and none after it that is normalised, so a norm is put in.
    both.discriminator.layers.append(torch.nn.BatchNorm2d(4))
    assert TECHNIQUES[name].gradients_of
    assert batches_seen(both, twice=True) == [6]
