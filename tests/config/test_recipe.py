"""Recipes: overrides, refusals that help, round trips, fingerprints, differences."""

import math

import pytest
import torch

from kennel.config.recipe import (
    Budget,
    ExtraDiscriminatorSteps,
    OptimizerConfig,
    ScheduleConfig,
    SecondBeta,
    StepsConfig,
    difference,
    from_yaml,
    override,
    parse_count,
    parse_value,
    recipe_from,
)
from kennel.errors import RecipeError
from kennel.recipes import RECIPES, get_recipe, load_recipe, recipe_doc
from kennel.techniques import TECHNIQUES, StepContext


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_recipe_survives_yaml(name):
    recipe = get_recipe(name)
    again = from_yaml(recipe.to_yaml(), "test")
    assert again == recipe
    assert again.fingerprint() == recipe.fingerprint()


@pytest.mark.parametrize("name", list(RECIPES))
def test_a_recipe_tells_its_command_and_its_cost(name):
    assert f"kennel train {name} " in recipe_doc(name)
    assert "Cost:" in recipe_doc(name)
    assert "Paper:" in recipe_doc(name) or "Data:" in recipe_doc(name)
    assert get_recipe(name).name == name


def test_the_table_of_the_dog_paper_is_the_recipe():
    recipe = get_recipe("dcgan.dogs")
    for optimiser in (recipe.generator_optimizer, recipe.discriminator_optimizer):
        assert (optimiser.learning_rate, optimiser.betas) == (5e-4, (0.5, 0.999))
    assert (recipe.batch_size, recipe.latent.dim, recipe.latent.distribution) == (32, 128, "normal")
    assert recipe.budget == Budget(epochs=750)
    options = {part.name: part.options for part in recipe.techniques}
    assert options["one_sided_smoothing"] == {"real": 0.8}
    assert options["instance_noise"] == {"variance": 0.01}
    assert options["random_resized_crop"] == {"scale": [0.8, 1.0], "ratio": [3 / 4, 4 / 3]}
    assert {"horizontal_flip", "separate_batches", "normal_init"} <= set(options)
    assert recipe.budget.in_images(9_070) == 6_802_500


@pytest.mark.parametrize("name", ["stylegan2.dogs", "stylegan2.original"])
def test_lazy_penalties_correct_adam_as_the_authors_do(name):
    recipe = get_recipe(name)
    every = {part.name: part.options.get("interval") for part in recipe.techniques}
    for optimiser, penalty, told in (
        (recipe.discriminator_optimizer, "r1", 16),
        (recipe.generator_optimizer, "path_length", 4),
    ):
        share = told / (told + 1)
        assert every[penalty] == told
        assert optimiser.learning_rate == pytest.approx(0.0025 * share)
        assert optimiser.betas == (0.0, pytest.approx(0.99**share))


def test_gamma_of_the_small_stylegan2_follows_the_authors_rule():
    recipe = get_recipe("stylegan2.dogs")
    options = {part.name: part.options for part in recipe.techniques}
    assert options["r1"]["weight"] == pytest.approx(0.0002 * 64**2 / recipe.batch_size)


def test_the_two_dcgans_of_the_dog_slides_differ_by_their_labels_alone():
    tuned, untuned = get_recipe("soft_dcgan.dogs"), get_recipe("soft_dcgan.dogs.untuned")
    changed = [line for line in difference(untuned, tuned) if not line.startswith("name:")]
    assert [line.partition(":")[0] for line in changed] == [
        "techniques.one_sided_smoothing",
        "techniques.noisy_labels",
    ]
    options = {part.name: part.options for part in tuned.techniques}
    assert options["one_sided_smoothing"] == {"real": [0.9, 1.0]}  # the slides': "like 0.9-1.0"
    assert options["noisy_labels"] == {"probability": 0.05}
    for player in (tuned.generator, tuned.discriminator):
        assert player.options == {"activation": "leaky_relu"}


def test_dotted_settings_reach_every_depth():
    recipe = override(
        get_recipe("digits"),
        [
            "batch_size=16",
            "generator_optimizer.learning_rate=1e-3",
            "generator.base_channels=8",
            "loss.name=minimax",
            "techniques.ema.half_life_images=2k",
            "techniques.noisy_labels=on",
            "techniques.instance_noise=off",
            "techniques.one_sided_smoothing.real=[0.9, 1.0]",
            "budget.epochs=2",
        ],
    )
    options = {part.name: part.options for part in recipe.techniques}
    assert recipe.batch_size == 16
    assert recipe.generator_optimizer.learning_rate == 1e-3
    assert recipe.generator.options["base_channels"] == 8
    assert recipe.loss.name == "minimax"
    assert options["ema"] == {"half_life_images": 2000}
    assert options["one_sided_smoothing"] == {"real": [0.9, 1.0]}
    assert "instance_noise" not in options
    assert "noisy_labels" in options
    assert recipe.budget == Budget(epochs=2)


def test_another_network_drops_the_former_ones_options():
    recipe = override(get_recipe("digits"), ["generator.name=mlp"])
    assert recipe.generator.options == {}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("batch_siz=32", "there is no key of recipe 'batch_siz': did you mean 'batch_size'"),
        ("latent_dims=3", "did you mean 'latent_dim'"),
        ("generator_optimizer.lr=1", "did you mean 'learning_rate'"),
        (
            "lr=1",
            "there is no key of recipe 'lr': did you mean 'generator_optimizer.learning_rate' or "
            "'discriminator_optimizer.learning_rate'?",
        ),
        ("learning_rate=1", "'discriminator_optimizer.learning_rate'?"),
        ("epochs=3", "did you mean 'budget.epochs'?"),
        ("optimizer.lr=3", "did you mean 'discriminator_optimizer' or 'generator_optimizer'?"),
        ("batch", "'batch' is not a setting: write it as key.subkey=value"),
        ("batch_size=1", "recipe.batch_size = 1 does not fit"),
        ("batch_size=many", "recipe.batch_size = 'many' does not fit"),
        ("latent_distribution=gauss", "recipe.latent_distribution = 'gauss' does not fit"),
        ("techniques.instance_noize=off", "did you mean 'instance_noise'"),
        ("techniques.ema=maybe", "neither on nor off"),
        ("techniques=on", "is not a technique's setting"),
        ("batch_size.x=3", "batch_size has no keys below it"),
        ("techniques.ema.name=other", "a technique keeps its name"),
        ("generator_optimizer.betas=[0.5, 1.5]", "recipe.generator_optimizer.betas.1 = 1.5 does not fit"),
        ("generator_optimizer.learning_rate=inf", "learning_rate = inf does not fit"),
        ("budget.epochs=-1", "recipe.budget.epochs = -1 does not fit"),
    ],
)
def test_a_wrong_setting_is_answered_in_one_sentence(setting, message):
    with pytest.raises(RecipeError) as error:
        override(get_recipe("digits"), [setting])
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_a_misspelt_key_in_a_file_is_answered_with_the_nearest():
    with pytest.raises(RecipeError, match="did you mean 'discriminator'"):
        recipe_from({"name": "x", "discriminater": {"name": "mlp"}})


def test_a_missing_key_is_named():
    with pytest.raises(RecipeError, match=r"recipe\.generator is missing"):
        recipe_from({"name": "x", "discriminator": {"name": "mlp"}, "budget": {"images": 1}})


def test_a_technique_is_listed_once():
    content = get_recipe("digits").model_dump(mode="json")
    content["techniques"] *= 2
    with pytest.raises(RecipeError, match="listed twice"):
        recipe_from(content)


def test_a_budget_is_in_images_or_in_epochs():
    content = get_recipe("digits").model_dump(mode="json")
    content["budget"] = {"images": 5, "epochs": 5}
    with pytest.raises(RecipeError, match="one of the two"):
        recipe_from(content)


@pytest.mark.parametrize("budget", ["images=1000000000000001", "epochs=1e300", "images=9" + "0" * 24])
def test_a_budget_beyond_all_reason_is_refused(budget):
    with pytest.raises(
        RecipeError, match="at most 1,000,000,000,000,000 images, and this is more: give fewer"
    ):
        override(get_recipe("digits"), [f"budget.{budget}"])
    with pytest.raises(RecipeError, match="at most 1,000,000,000,000,000 images"):
        Budget(epochs=1e12).in_images(60_000)
    assert Budget(epochs=1e12).in_images(1000) == 10**15


@pytest.mark.parametrize("text", ["- a list", "just words", "a: [unclosed"])
def test_a_file_that_is_no_recipe_is_refused(text):
    with pytest.raises(RecipeError, match="somefile"):
        from_yaml(text, "somefile")


def test_counts_can_be_written_short():
    assert [parse_count(text) for text in ("12", "500k", "2.5M", "1_000", "1,000")] == [
        12,
        500_000,
        2_500_000,
        1000,
        1000,
    ]
    for wrong in ("", "k", "1.5", "ten", "0.0001k", "nan", "inf", "infM", "nank", "1e400M", "9" * 5000):
        with pytest.raises(RecipeError, match="not a count"):
            parse_count(wrong)


def test_values_are_numbers_where_they_can_be():
    assert parse_value("5e-4") == 5e-4
    assert parse_value("on") is True
    assert parse_value("null") is None
    assert parse_value("[0.9, 1.0]") == [0.9, 1.0]
    assert parse_value("relu") == "relu"


def test_fingerprints_differ_with_what_is_computed_and_not_with_words():
    recipe = get_recipe("digits")
    assert recipe.fingerprint() != override(recipe, ["seed=1"]).fingerprint()
    assert recipe.fingerprint() == override(recipe, ["paper=other"]).fingerprint()


def test_a_difference_names_keys_and_techniques():
    old = get_recipe("digits")
    new = override(old, ["batch_size=32", "techniques.ema=off", "techniques.instance_noise.variance=0.5"])
    lines = difference(old, new)
    assert "batch_size: 64 -> 32" in lines
    assert any(line.startswith("techniques.ema: ") and line.endswith("-> (absent)") for line in lines)
    assert any("'variance': 0.5" in line for line in lines)
    assert len(lines) == 3
    assert difference(old, old) == []


def test_a_recipe_is_found_by_name_or_by_file(tmp_path):
    assert load_recipe("digits") == get_recipe("digits")
    file = tmp_path / "mine.yaml"
    file.write_text(get_recipe("gan").to_yaml())
    assert load_recipe(str(file)) == get_recipe("gan")
    with pytest.raises(RecipeError, match="there is no recipe file"):
        load_recipe(str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    "boost",
    [
        None,
        ExtraDiscriminatorSteps(steps=7, first=3, interval=5),
        ExtraDiscriminatorSteps(first=25, interval=0),
    ],
)
def test_the_rounds_of_a_boosted_discriminator_are_counted_right(boost):
    turns = StepsConfig(discriminator=2, extra_d_steps=boost)
    before = 0
    for number in range(60):
        assert turns.discriminator_steps_before(number) == before
        assert turns.iteration_after(before) == number
        before += turns.discriminator_steps_in(number)


def test_wgans_critic_plays_a_hundred_turns_at_first_and_now_and_then():
    turns = StepsConfig(discriminator=5, extra_d_steps=ExtraDiscriminatorSteps())
    assert [number for number in range(1100) if turns.discriminator_steps_in(number) == 100] == [
        *range(25),
        500,
        1000,
    ]
    assert {turns.discriminator_steps_in(number) for number in range(25, 500)} == {5}


def test_a_schedule_warms_up_holds_and_decays():
    schedule = ScheduleConfig(
        decay="linear", decay_start=0.5, final_factor=0.1, warmup=0.1, warmup_factor=0.2
    )
    progress = (0.0, 0.05, 0.1, 0.5, 0.75, 1.0)
    assert [schedule.factor(one) for one in progress] == pytest.approx([0.2, 0.6, 1, 1, 0.55, 0.1])
    optimiser = OptimizerConfig(learning_rate=2.0, schedule=ScheduleConfig(decay="cosine"))
    assert optimiser.learning_rate_at(0.5) == pytest.approx(1.0)


def test_the_second_beta_goes_to_its_end_and_stays_there():
    optimiser = OptimizerConfig(betas=(0.0, 0.9), second_beta=SecondBeta(final=0.99, until=0.5))
    betas = [optimiser.betas_at(progress) for progress in (0.0, 0.25, 0.5, 1.0)]
    assert [first for first, _ in betas] == [0.0] * 4
    assert [second for _, second in betas] == pytest.approx([0.9, 0.945, 0.99, 0.99])
    assert OptimizerConfig(betas=(0.5, 0.999)).betas_at(0.7) == (0.5, 0.999)


def test_a_schedule_of_the_second_beta_can_be_set_and_removed_and_counts_in_the_fingerprint():
    recipe = get_recipe("dcgan")
    moved = override(recipe, ["generator_optimizer.second_beta.final=0.9"])
    assert moved.generator_optimizer.second_beta == SecondBeta(final=0.9)
    assert moved.fingerprint() != recipe.fingerprint()
    back = override(moved, ["generator_optimizer.second_beta=null"])
    assert back.fingerprint() == recipe.fingerprint()


@pytest.mark.parametrize(
    ("name", "batch", "gamma", "augmentation", "half_life"),
    [("r3gan.cifar10", 512, 0.05, 0.55, 5_000_000), ("r3gan.64", 256, 2.0, 0.3, 500_000)],
)
def test_r3gans_schedules_are_those_of_the_authors_over_their_20_million_images(
    name, batch, gamma, augmentation, half_life
):
    recipe = get_recipe(name)
    assert recipe.batch_size == batch
    parts = {part.name: TECHNIQUES[part.name](**part.options) for part in recipe.techniques}
    total = recipe.budget.images
    for seen in (1_000_000, 5_000_000, 13_000_000, 20_000_000, total):
        share = 0.5 - 0.5 * math.cos(math.pi * min(seen / 20e6, 1))  # of the way from the first to the last
        context = StepContext(seen, total, "discriminator", 0, 0, torch.device("cpu"))
        for adam in (recipe.generator_optimizer, recipe.discriminator_optimizer):
            assert adam.learning_rate_at(context.progress) == pytest.approx(2e-4 + share * (5e-5 - 2e-4))
            assert adam.betas_at(context.progress) == pytest.approx((0, 0.9 + share * 0.09))
        for penalty in ("r1", "r2"):
            left = parts[penalty].weight * parts[penalty].factor_at(context.progress)
            assert left == pytest.approx(gamma * (1 - 0.9 * share))
        assert parts["ada"].scheduled(context.progress) == pytest.approx(augmentation * share)
        assert parts["ema"].half_life(context) == pytest.approx(half_life * share)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("generator_optimizer.momentum=0.9", "momentum is for rmsprop and sgd"),
        ("generator_optimizer={name: sgd, second_beta: {final: 0.9}}", "second_beta is for adam"),
        ("generator_optimizer.second_beta.final=1", "less than 1"),
        ("generator_optimizer.schedule.final_factor=0.1", "final_factor needs a decay"),
        ("generator_optimizer.schedule.warmup_factor=0.1", "warmup_factor needs a warm-up"),
        ("budget.epochs=.inf", "finite"),
        ("generator_optimizer.learning_rate=.nan", "finite"),
    ],
)
def test_a_setting_that_would_do_nothing_or_harm_is_refused(setting, message):
    with pytest.raises(RecipeError, match=message):
        override(get_recipe("gan"), [setting])


def test_keys_below_one_that_is_not_set_yet_can_be_given():
    recipe = override(
        get_recipe("gan"), ["steps.extra_d_steps.first=3", "techniques.mine.optimizer.learning_rate=1e-3"]
    )
    assert recipe.steps.extra_d_steps == ExtraDiscriminatorSteps(first=3)
    assert recipe.techniques[-1].options == {"optimizer": {"learning_rate": 1e-3}}


def test_further_metrics_are_a_list_or_a_line():
    for given in ("fid,recall", "fid, recall", "[fid, recall]"):
        assert override(
            get_recipe("gan"), [f"validation.extra_metrics={given}"]
        ).validation.extra_metrics == ("fid", "recall")
    assert override(get_recipe("gan"), ["validation.extra_metrics=[]"]).validation.extra_metrics == ()


def test_a_schedule_that_ends_before_it_begins_is_refused():
    with pytest.raises(RecipeError, match=r"decay_start is 0\.8 and decay_end is 0\.5: set a later"):
        override(get_recipe("gan"), ["generator_optimizer.schedule={decay_start: 0.8, decay_end: 0.5}"])


def test_a_part_is_named_by_its_name_alone():
    changed = override(get_recipe("dcgan"), ["loss=lsgan", "generator=sngan", "generator_optimizer=rmsprop"])
    assert (changed.loss.name, changed.generator.name) == ("lsgan", "sngan")
    assert changed.generator_optimizer.name == "rmsprop"
    assert changed == override(
        get_recipe("dcgan"), ["loss.name=lsgan", "generator.name=sngan", "generator_optimizer.name=rmsprop"]
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("budget=500k", "'budget=500k': budget is a group of keys: set budget.images or budget.epochs"),
        ("loss=3", "loss is a group of keys: set loss.name"),
        (
            "compute=fast",
            "set compute.precision or compute.layout or compute.convolutions or compute.compile",
        ),
    ],
)
def test_a_group_of_keys_has_no_value_of_its_own(setting, message):
    with pytest.raises(RecipeError, match=message):
        override(get_recipe("dcgan"), [setting])


def test_what_kinds_a_value_may_have_is_no_part_of_its_name():
    with pytest.raises(RecipeError, match=r"recipe.compute.compile = 'turns' does not fit"):
        override(get_recipe("dcgan"), ["compute.compile=turns"])
    with pytest.raises(RecipeError) as error:
        override(get_recipe("dcgan"), ["budget.images=word"])
    assert "constrained" not in str(error.value)


def test_a_recipe_file_that_is_not_utf_8_is_one_sentence(tmp_path):
    file = tmp_path / "latin.yaml"
    file.write_bytes("name: für".encode("latin-1"))
    with pytest.raises(RecipeError, match=r"latin.yaml is not UTF-8 text .*: save it as UTF-8"):
        load_recipe(str(file))


def test_a_run_from_before_classes_could_be_balanced_keeps_its_fingerprint():
    recipe = get_recipe("digits")
    assert recipe.fingerprint() == "849443b6e67a13ff"
    assert override(recipe, ["balance_classes=true"]).fingerprint() != recipe.fingerprint()
