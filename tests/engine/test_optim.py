"""A clipped gradient never outweighs the one that is there; Adam's second beta moves."""

import pytest
import torch

from kennel.config.recipe import OptimizerConfig, ScheduleConfig, SecondBeta
from kennel.engine.optim import add_clipped_gradient, build_optimizer

ADVERSARIAL = (torch.tensor([3.0, 0.0]), torch.tensor([[0.0], [4.0]]))  # of length 5


def after_adding(scale: float) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """The gradients that were added to those of length 5, and those of the term itself."""
    parameters = [torch.ones(2, requires_grad=True), torch.full((2, 1), 2.0, requires_grad=True)]
    for parameter, gradient in zip(parameters, ADVERSARIAL, strict=True):
        parameter.grad = gradient.clone()
    optimiser = torch.optim.SGD(parameters, 1.0)
    # Its gradient is scale * (1, 1) and scale * (4, 4): of length scale * sqrt(34).
    term = scale * (parameters[0].sum() + parameters[1].square().sum())
    own = torch.autograd.grad(term, parameters, retain_graph=True)
    add_clipped_gradient(optimiser, term)
    return [p.grad - a for p, a in zip(parameters, ADVERSARIAL, strict=True)], list(own)


def length(gradients: list[torch.Tensor]) -> float:
    return torch.cat([gradient.flatten() for gradient in gradients]).norm().item()


@pytest.mark.parametrize("scale", [1.0, 10.0, 1e6])
def test_a_longer_gradient_is_cut_to_the_length_of_the_one_that_is_there_and_keeps_its_direction(scale):
    added, own = after_adding(scale)
    assert length(added) == pytest.approx(5, rel=1e-5)
    for one, other in zip(added, own, strict=True):
        assert torch.allclose(one, other * 5 / length(own), rtol=1e-4)


@pytest.mark.parametrize("scale", [-0.5, 0.0, 1e-3, 0.85])
def test_a_shorter_gradient_is_added_as_it_is(scale):
    added, own = after_adding(scale)
    assert length(own) < 5
    for one, other in zip(added, own, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=1e-6)


def test_parameters_that_only_one_of_the_two_reaches_count_in_both_lengths():
    reached, unreached = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    unreached.grad = torch.tensor([2.0])
    add_clipped_gradient(torch.optim.SGD([reached, unreached], 1.0), 100 * reached.sum())
    assert reached.grad.item() == pytest.approx(2)
    assert unreached.grad.item() == 2


def test_where_nothing_pulls_a_clipped_term_does_not_either():
    parameter = torch.ones(3, requires_grad=True)
    parameter.grad = torch.zeros(3)
    add_clipped_gradient(torch.optim.SGD([parameter], 1.0), parameter.sum())
    assert torch.equal(parameter.grad, torch.zeros(3))


@pytest.mark.parametrize("second_beta", [None, SecondBeta(final=0.99, until=0.5)])
def test_adam_takes_the_second_beta_of_each_step_as_in_its_formula(second_beta):
    options = OptimizerConfig(
        learning_rate=0.1,
        betas=(0.0, 0.9),
        second_beta=second_beta,
        schedule=ScheduleConfig(decay="cosine", final_factor=0.25),
    )
    weight = torch.tensor([1.0, -2.0], requires_grad=True)
    scheduled = build_optimizer(options, [weight], torch.device("cpu"))
    expected, square = weight.detach().clone().double(), torch.zeros(2, dtype=torch.float64)
    for step in range(1, 11):
        progress = (step - 1) / 10
        gradient = torch.tensor([0.3 * step, -1.0 / step])
        weight.grad = gradient.clone()
        scheduled.at(progress).step()
        beta = 0.9 if second_beta is None else second_beta.at(0.9, progress)
        square = beta * square + (1 - beta) * gradient.double().square()
        rate = 0.1 * options.schedule.factor(progress)
        expected -= rate * gradient.double() / ((square / (1 - beta**step)).sqrt() + 1e-8)
    assert torch.allclose(weight.detach().double(), expected, atol=1e-6)
