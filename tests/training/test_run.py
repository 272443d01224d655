"""A run that stopped and went on is bit for bit the run that never stopped; nothing half-fits."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image

from kennel.config.recipe import Recipe, override
from kennel.data.dataset import ImageDataset
from kennel.engine.builder import build_step, pick_device, resolve
from kennel.engine.compute_defaults import with_compute_defaults
from kennel.errors import DataError, RecipeError, RunError
from kennel.losses import LOSSES
from kennel.networks import DISCRIMINATORS, GENERATORS
from kennel.recipes import RECIPES, get_recipe
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.sampling.load import load_run
from kennel.techniques import TECHNIQUES
from kennel.training.run import train
from observers import StopAt

TINY = [
    "batch_size=8",
    "num_ticks=4",
    "validation.every_ticks=0",
    "image.channels=1",
    "budget.images=128",
    "steps.extra_d_steps=null",
]
WIDTHS = {
    "dcgan": ["base_channels=4"],
    "mlp": ["hidden=[8,8]"],
    "improved": ["base_channels=4"],
    "modern": ["base_channels=8", "min_channels=4", "group=4"],
    "stylegan2": ["channel_base=32", "channel_max=4"],
    "sngan": ["base_channels=2"],
    "sagan": ["base_channels=2"],
    "biggan": ["base_channels=2"],
    "biggan_deep": ["base_channels=2"],
    "projected": ["features=untrained", "base_channels=2", "max_channels=8"],
}


def tiny(name: str, *settings: str) -> Recipe:
    """The recipe at the smallest size that its networks draw, and a few numbers wide."""
    recipe = get_recipe(name)
    sizes = [GENERATORS[recipe.generator.name].sizes, DISCRIMINATORS[recipe.discriminator.name].sizes]
    small = [f"image.size={min(set(sizes[0] or (8,)) & set(sizes[1] or (8,)))}"]
    if recipe.sampling.standing_stats_batches:
        small.append("sampling.standing_stats_batches=1")
    if recipe.instances.neighbors:
        small += ["instances.extractor=pixels", "instances.dim=4"]
    for player in ("generator", "discriminator"):
        small += [f"{player}.{width}" for width in WIDTHS[getattr(recipe, player).name]]
    return override(recipe, [*TINY, *small, *settings])


def bare(name: str, *settings: str) -> Recipe:
    """A tiny recipe without its techniques."""
    return override(tiny(name).model_copy(update={"techniques": ()}), settings)


def outcome(run: Path) -> dict[str, object]:
    """All that must be equal between two runs: the newest checkpoint, the log but for times, the grids."""
    folder = RunDir(run)
    newest = checkpoint.newest(folder.checkpoints)
    timeless = [{key: value for key, value in line.items() if "second" not in key} for line in folder.log()]
    grids = {path.name: path.read_bytes() for path in sorted(folder.samples.glob("*.png"))}
    return {"checksum": newest.metadata["checksum"], "log": timeless, "grids": grids}


def assert_resumes(recipe: Recipe, data: Path, tmp_path: Path, stops: tuple[int, ...]) -> None:
    assert train(recipe, data, tmp_path / "whole")
    for stop in stops:
        assert not train(recipe, data, tmp_path / "stopped", observer=StopAt(stop))
    assert train(recipe, data, tmp_path / "stopped")
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "whole")


@pytest.mark.parametrize("name", list(RECIPES))
def test_every_recipe_resumes_bit_for_bit_wherever_it_is_stopped(name, packed_set, tmp_path):
    recipe = tiny(name)
    data = packed_set(count=37, size=recipe.image.size, classes=2 if recipe.num_classes is None else 0)
    assert_resumes(recipe, data, tmp_path, stops=(8, 40, 64))


@pytest.mark.parametrize("name", list(TECHNIQUES))
def test_every_technique_resumes_bit_for_bit(name, packed_set, tmp_path):
    settings = ["num_classes=null", "latent_distribution=normal", f"techniques.{name}=on"]
    if TECHNIQUES[name].supplies_class_signal:
        settings.append("discriminator.conditioning=none")
    if name in ("path_length", "style_mixing"):
        settings += ["generator.name=stylegan2", *(f"generator.{width}" for width in WIDTHS["stylegan2"])]
    recipe = override(bare("dcgan"), settings)
    assert_resumes(recipe, packed_set(classes=2), tmp_path, stops=(24,))


@pytest.mark.parametrize(
    "settings",
    [
        ("techniques.lecam.start_images=0", "techniques.lecam.half_life_images=20"),
        ("techniques.ada.adjustment_images=60", "techniques.ada.interval=2", "techniques.ada.target=-0.5"),
        ("techniques.ada.fixed=0.8", "techniques.r1.decay=cosine", "techniques.r2.interval=3"),
        ("techniques.ema.ramp=cosine", "techniques.ema.half_life_images=40"),
    ],
)
def test_a_technique_that_sets_in_late_resumes_bit_for_bit_once_it_has(settings, packed_set, tmp_path):
    assert_resumes(bare("dcgan", *settings), packed_set(), tmp_path, stops=(24, 56))


@pytest.mark.parametrize("name", list(LOSSES))
def test_every_loss_resumes_bit_for_bit_with_several_turns_and_low_precision(name, packed_set, tmp_path):
    settings = (
        "steps.discriminator=2",
        "steps.generator=3",
        "compute.precision=bfloat16",
        f"loss.name={name}",
    )
    assert_resumes(bare("digits", *settings), packed_set(), tmp_path, stops=(16, 80))


@pytest.mark.parametrize("name", ["adam", "rmsprop", "sgd"])
def test_every_optimiser_resumes_bit_for_bit_on_a_schedule(name, packed_set, tmp_path):
    momentum = ["second_beta.final=0.5"] if name == "adam" else ["momentum=0.5"]
    settings = [
        f"{player}_optimizer.{setting}"
        for player in ("generator", "discriminator")
        for setting in (f"name={name}", "schedule.decay=cosine", "schedule.warmup=0.2", *momentum)
    ]
    assert_resumes(bare("digits", *settings), packed_set(), tmp_path, stops=(40,))


def test_rounds_of_different_length_resume_bit_for_bit(packed_set, tmp_path):
    boost = "steps.extra_d_steps={steps: 3, first: 2, interval: 4}"
    assert_resumes(bare("digits", boost), packed_set(), tmp_path, stops=(24, 56))


def test_validation_and_the_best_checkpoint_resume_too(packed_set, tmp_path, monkeypatch):
    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path / "cache"))
    recipe = tiny("digits", "validation.every_ticks=1", "validation.num_samples=40")
    assert_resumes(recipe, packed_set(), tmp_path, stops=(40, 72))
    log = RunDir(tmp_path / "stopped").log()
    assert all(line["fid"] > 0 for line in log)
    best = min(log, key=lambda line: line["fid"])
    assert load_run(tmp_path / "stopped", "best").images_seen == best["images"]


def test_a_damaged_checkpoint_is_told_and_the_one_before_is_taken(packed_set, tmp_path):
    recipe, data = tiny("digits"), packed_set()
    train(recipe, data, tmp_path / "whole")
    assert not train(recipe, data, tmp_path / "run", observer=StopAt(72))
    newest = checkpoint.in_folder(RunDir(tmp_path / "run").checkpoints)[0]
    newest.write_bytes(newest.read_bytes()[:-1])
    watch = StopAt(10**9)
    assert train(recipe, data, tmp_path / "run", observer=watch)
    assert any("cannot be read" in sentence and "before it" in sentence for sentence in watch.said)
    assert outcome(tmp_path / "run") == outcome(tmp_path / "whole")


def test_another_recipe_in_the_same_folder_is_refused_with_the_difference(packed_set, tmp_path):
    data = packed_set()
    train(tiny("digits"), data, tmp_path / "run")
    with pytest.raises(RecipeError, match="batch_size: 8 -> 16"):
        train(tiny("digits", "batch_size=16"), data, tmp_path / "run")


def test_a_longer_budget_goes_on(packed_set, tmp_path):
    data = packed_set()
    train(tiny("digits"), data, tmp_path / "run")
    watch = StopAt(10**9)
    assert train(tiny("digits", "budget.images=192"), data, tmp_path / "run", observer=watch)
    assert RunDir(tmp_path / "run").log()[-1]["images"] == 192
    assert any("budget.images: 128 -> 192" in sentence for sentence in watch.said)


def test_other_data_in_the_same_folder_is_refused(packed_set, tmp_path):
    train(tiny("digits"), packed_set(), tmp_path / "run")
    with pytest.raises(RunError, match="was trained on"):
        train(tiny("digits"), packed_set(count=50, name="other"), tmp_path / "run")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["generator.base_chanels=3"], "did you mean 'base_channels'"),
        (["generator.name=dcgam"], "did you mean 'dcgan'"),
        (["loss.name=bse"], "did you mean 'bce'"),
        (["generator.activation=rellu"], "'leaky_relu'"),
        (["techniques.one_sided_smoothing.real=2"], "one_sided_smoothing"),
        (["image.size=16"], "needs image size 16"),
        (["batch_size=129"], "a batch of 129 is more than the whole budget of 128 images: give a smaller"),
        (["validation.extractor=inceptoin", "validation.every_ticks=1"], "did you mean 'inception'"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(settings, message, packed_set, tmp_path):
    with pytest.raises(Exception, match=message) as error:
        train(tiny("digits", *settings), packed_set(), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_validation_comes_at_every_so_manieth_tick(packed_set, tmp_path, monkeypatch):
    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path / "cache"))
    # 13 rounds and 5 ticks: the ticks do not fall on multiples of the round.
    recipe = tiny(
        "digits", "validation.every_ticks=2", "validation.num_samples=40", "budget.images=104", "num_ticks=5"
    )
    train(recipe, packed_set(), tmp_path / "run")
    log = RunDir(tmp_path / "run").log()
    assert ["fid" in line for line in log] == [False, True, False, True, True]  # and at the end


def test_a_budget_that_is_spent_already_is_refused(packed_set, tmp_path):
    data = packed_set()
    train(tiny("digits"), data, tmp_path / "run")
    with pytest.raises(RunError, match="has seen 128 images already: give a budget of at least"):
        train(tiny("digits", "budget.images=64"), data, tmp_path / "run")
    assert RunDir(tmp_path / "run").recipe().budget.images == 128


@pytest.mark.parametrize(
    ("name", "classes", "settings", "message"),
    [
        ("cgan", 0, (), r"cgan is conditioned on classes, but .*set has no classes: prepare it from one"),
        ("cgan", 1, (), r"cgan is conditioned on classes, but .*set has only one class"),
        ("cgan", 3, ("num_classes=4",), r"cgan needs 4 classes, but .*set has 3: give another set"),
        (
            "improved.mnist.baseline",
            3,
            ("num_classes=null",),
            r"improved ignores classes: use",
        ),
        (
            "cgan",
            3,
            ("discriminator.conditioning=none",),
            r"uses the labels .discriminator mlp., so it cannot learn",
        ),
        (
            "sagan",
            3,
            ("techniques.feature_matching=on",),
            r"none of the generator's losses uses the labels",
        ),
        (
            "acgan",
            3,
            ("discriminator.conditioning=label",),
            r"predicts the class, and this disc",
        ),
    ],
)
def test_classes_that_nobody_could_learn_are_refused(name, classes, settings, message, packed_set, tmp_path):
    recipe = tiny(name, *settings)
    with pytest.raises(RecipeError, match=message):
        train(recipe, packed_set(size=recipe.image.size, classes=classes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", list(RECIPES))
@pytest.mark.parametrize("classes", [0, 1])
def test_the_remedy_for_a_set_of_fewer_than_two_classes_is_one_that_works(name, classes, packed_set):
    image = get_recipe(name).image
    packed = ImageDataset(packed_set(size=image.size or 32, channels=image.channels or 3, classes=classes))
    try:
        resolve(get_recipe(name), packed)
    except RecipeError as error:
        words = str(error).split()
        settings = [words[place + 1] for place, word in enumerate(words) if word == "--set"]
        assert settings
        assert resolve(override(get_recipe(name), settings), packed).num_classes == 0


def test_a_conditional_run_draws_a_row_for_each_class(packed_set, tmp_path):
    train(tiny("cgan"), packed_set(classes=3), tmp_path / "run")
    folder = RunDir(tmp_path / "run")
    assert folder.recipe().num_classes == 3
    with Image.open(folder.samples / "000000000128.png") as grid:
        assert grid.size == (8 * 66 + 2, 3 * 66 + 2)


def test_a_missing_set_and_a_missing_device_are_refused(tmp_path):
    with pytest.raises(DataError, match="kennel data prepare"):
        train(tiny("digits"), tmp_path / "nothing", tmp_path / "run")
    with pytest.raises(RunError, match="the device 'tpu' is not available"):
        pick_device("tpu")


def test_the_log_and_the_events_agree(packed_set, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    data = packed_set()
    assert not train(tiny("digits"), data, tmp_path / "run", observer=StopAt(72))
    train(tiny("digits"), data, tmp_path / "run")
    events = accumulator.EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    for name in ("generator_loss", "real_probability"):
        logged = {line["images"]: line[name] for line in RunDir(tmp_path / "run").log()}
        written = {event.step: event.value for event in events.Scalars(name)}
        assert written == pytest.approx(logged, rel=1e-6)


def test_the_run_folder_tells_who_it_is(packed_set, tmp_path):
    data = packed_set(classes=2)
    train(tiny("digits"), data, tmp_path / "run")
    folder = RunDir(tmp_path / "run")
    expected = with_compute_defaults(resolve(tiny("digits"), ImageDataset(data)), torch.device("cpu"))
    assert folder.recipe() == expected
    assert folder.recipe().techniques[-1].options == {
        "half_life_images": 5_000,
        "ramp_up": 0.05,
        "ramp": "constant",
        "until": 1.0,
    }
    about = json.loads(folder.about_file.read_text())
    assert about["data"]["fingerprint"] == ImageDataset(data).fingerprint
    assert about["data"]["classes"] == ["class 0", "class 1"]
    assert about["versions"]["torch"] == torch.__version__
    assert len(checkpoint.in_folder(folder.checkpoints)) == folder.recipe().keep_checkpoints


def test_the_seed_decides_the_weights_and_leaves_the_global_generator_alone(packed_set):
    recipe = resolve(tiny("digits"), ImageDataset(packed_set()))
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first = build_step(recipe, torch.device("cpu"))
    assert torch.equal(torch.rand(1), expected)
    again = build_step(recipe, torch.device("cpu"))
    other = build_step(override(recipe, ["seed=1"]), torch.device("cpu"))

    def weight(step):
        return step.networks.generator.state_dict()["stem.weight"]

    assert torch.equal(weight(first), weight(again))
    assert not torch.equal(weight(first), weight(other))


def test_a_default_that_is_written_out_is_the_same_run(packed_set, tmp_path):
    data = packed_set()
    train(tiny("digits"), data, tmp_path / "run")
    assert train(tiny("digits", "techniques.ema.ramp_up=0.05"), data, tmp_path / "run")


def test_the_extractor_that_auto_found_judges_the_run_to_its_end(packed_set, tmp_path, monkeypatch):
    monkeypatch.setenv("KENNEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("KENNEL_WEIGHTS", raising=False)
    recipe = tiny(
        "digits",
        "validation.extractor=auto",
        "validation.metric=mifid",
        "validation.num_samples=20",
        "validation.every_ticks=1",
    )
    assert not train(recipe, packed_set(), tmp_path / "run", observer=StopAt(40))
    validation = RunDir(tmp_path / "run").recipe().validation
    assert (validation.extractor, validation.metric) == ("pixels", "fid")
    monkeypatch.setattr(
        "kennel.runs.pretrained_teacher.choose_extractor", lambda *given, **rules: "mobilenet"
    )
    assert train(recipe, tmp_path / "set", tmp_path / "run")


def test_a_run_that_is_stopped_while_it_goes_wrong_leaves_its_good_checkpoint(
    packed_set, tmp_path, monkeypatch
):
    monkeypatch.setattr(LOSSES["bce"], "generator_loss", lambda self, real, fake: fake.mean() * float("nan"))
    with pytest.raises(RunError, match="not finite in the generator's step"):
        train(tiny("digits", "num_ticks=1"), packed_set(), tmp_path / "run", observer=StopAt(40))
    assert checkpoint.in_folder(RunDir(tmp_path / "run").checkpoints) == []
