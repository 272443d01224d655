"""Validation while training: any metric decides, others are logged, no improvement ends a run."""

import pytest

from kennel.config.recipe import override
from kennel.engine.best_metric import BestMetric
from kennel.errors import KennelError, RecipeError
from kennel.recipes import get_recipe
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.sampling.load import load_run
from kennel.training.run import train
from kennel.training.validation import Validator
from observers import StopAt

TINY = (
    *(
        "batch_size=8",
        "image.size=8",
        "image.channels=1",
        "generator.base_channels=4",
        "discriminator.base_channels=4",
    ),
    *("budget.images=128", "num_ticks=8", "validation.num_samples=30"),
)
TICK = 16


def tiny(*settings):
    return override(get_recipe("digits"), [*TINY, *settings])


@pytest.fixture
def scripted(monkeypatch):
    """Each validation takes its value from a list, by its tick: `scripted("fid", [5, 4, 4.5, ...])`."""

    def script(metric, values):
        def of(self, generator, images_seen):
            return {metric: float(values[images_seen // TICK - 1])}

        monkeypatch.setattr(Validator, "values", of)

    return script


def outcome(run):
    folder = RunDir(run)
    timeless = [{key: value for key, value in line.items() if "second" not in key} for line in folder.log()]
    grids = {path.name: path.read_bytes() for path in sorted(folder.samples.glob("*.png"))}
    newest, best = checkpoint.newest(folder.checkpoints), checkpoint.load(folder.best_checkpoint)
    about = {key: value for key, value in newest.metadata.items() if key != "seconds"}
    return about, best.metadata["checksum"], timeless, grids


def test_any_metric_decides_and_others_are_logged_beside_it(packed_set, tmp_path):
    recipe = tiny("validation.metric=kid", "validation.extra_metrics=prdc,fid", "num_ticks=4")
    watch = StopAt()
    assert train(recipe, packed_set(), tmp_path / "run", observer=watch)
    log = RunDir(tmp_path / "run").log()
    measured = [
        name for name in log[0] if name in ("kid", "precision", "recall", "density", "coverage", "fid")
    ]
    assert measured == ["kid", "precision", "recall", "density", "coverage", "fid"]
    best = min(log, key=lambda line: line["kid"])
    assert load_run(tmp_path / "run", "best").images_seen == best["images"]
    assert RunDir(tmp_path / "run").recipe().validation.extra_metrics == tuple(measured[1:])
    assert watch.heard("KID of 30 samples by the pixels extractor decides which checkpoint is best. Also")


def test_the_best_of_a_metric_that_rises_is_its_highest(packed_set, tmp_path, scripted):
    scripted("coverage", [0.2, 0.5, 0.4, 0.7, 0.7, 0.1, 0.6, 0.3])
    train(tiny("validation.metric=coverage"), packed_set(), tmp_path / "run")
    assert load_run(tmp_path / "run", "best").images_seen == 4 * TICK
    log = RunDir(tmp_path / "run").log()
    assert [line["validations_since_best"] for line in log] == [0, 0, 1, 0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("metric", "values"), [("fid", [9, 5, 6, 4, 5, 4, 3, 2]), ("coverage", [1, 5, 4, 6, 5, 6, 7, 8])]
)
def test_a_run_ends_when_its_metric_has_not_improved_for_so_many_validations(
    metric, values, packed_set, tmp_path, scripted
):
    scripted(metric, values)
    watch = StopAt()
    recipe = tiny(f"validation.metric={metric}", "validation.patience=2")
    assert train(recipe, packed_set(), tmp_path / "run", observer=watch)
    folder = RunDir(tmp_path / "run")
    assert [line["images"] for line in folder.log()] == [TICK * tick for tick in range(1, 7)]
    assert checkpoint.newest(folder.checkpoints).images_seen == 6 * TICK
    label = {"fid": "FID", "coverage": "Coverage"}[metric]
    assert watch.said[-1] == (
        f"{label} has not improved for 2 validations (best {values[3]}.00 at 64 images): stopping."
    )
    assert watch.heard(f"Training stops when {label} has not improved for 2 validations.")


def test_patience_counts_validations_and_not_ticks(packed_set, tmp_path, scripted):
    scripted("fid", [0, 5, 0, 6, 0, 7, 0, 8])
    recipe = tiny("validation.patience=2", "validation.every_ticks=2")
    train(recipe, packed_set(), tmp_path / "run")
    assert RunDir(tmp_path / "run").log()[-1]["images"] == 6 * TICK


def test_a_run_that_ended_early_stays_ended_until_its_patience_grows(packed_set, tmp_path, scripted):
    scripted("fid", [9, 5, 6, 6, 6, 6, 4, 5])
    data, run = packed_set(), tmp_path / "run"
    train(tiny("validation.patience=2"), data, run)
    before = outcome(run)
    watch = StopAt()
    assert train(tiny("validation.patience=2"), data, run, observer=watch)
    assert outcome(run) == before
    assert watch.said[-1].startswith(
        "The run has stopped early: FID has not improved for 2 validations (best 5.00 at 32 images)."
    )
    assert not watch.heard("Resuming")

    watch = StopAt()
    assert train(tiny("validation.patience=null"), data, run, observer=watch)
    assert watch.heard("validation.patience: 2 -> None. Training is not affected.")
    assert RunDir(run).log()[-1]["images"] == 128
    assert load_run(run, "best").images_seen == 7 * TICK
    train(tiny(), data, tmp_path / "whole")
    newest = [checkpoint.newest(RunDir(one).checkpoints) for one in (run, tmp_path / "whole")]
    assert newest[0].metadata["checksum"] == newest[1].metadata["checksum"]


@pytest.mark.parametrize("stop", [TICK + 8, 4 * TICK, 5 * TICK + 8])
def test_a_run_stopped_by_hand_ends_early_where_one_that_never_stopped_does(
    stop, packed_set, tmp_path, scripted
):
    scripted("fid", [9, 5, 6, 6, 5, 6, 4, 5])
    data, recipe = packed_set(), tiny("validation.patience=4")
    train(recipe, data, tmp_path / "whole")
    assert RunDir(tmp_path / "whole").log()[-1]["images"] == 6 * TICK
    assert not train(recipe, data, tmp_path / "stopped", observer=StopAt(stop))
    assert train(recipe, data, tmp_path / "stopped")
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "whole")


def test_what_only_is_measured_may_change_and_another_metric_seeks_its_best_anew(
    packed_set, tmp_path, scripted
):
    data, run = packed_set(), tmp_path / "run"
    scripted("fid", [1, 2, 2, 2, 2, 2, 2, 2])
    assert not train(tiny(), data, run, observer=StopAt(3 * TICK))
    scripted("kid", [9, 9, 9, 8, 7, 8, 9, 9])
    watch = StopAt()
    assert train(tiny("validation.metric=kid", "validation.extra_metrics=recall"), data, run, observer=watch)
    assert watch.heard(
        "Validation changed: validation.metric: fid -> kid; validation.extra_metrics: [] -> ['recall']"
    )
    assert watch.heard("The search for the best starts again.")
    assert load_run(run, "best").images_seen == 5 * TICK
    assert RunDir(run).recipe().validation.metric == "kid"


def test_the_count_and_the_extractor_decide_what_a_value_means_and_stay(packed_set, tmp_path):
    data, run = packed_set(), tmp_path / "run"
    assert not train(tiny(), data, run, observer=StopAt(TICK))
    with pytest.raises(RecipeError, match=r"has another recipe \(validation\.num_samples: 30 -> 31\)"):
        train(tiny("validation.num_samples=31"), data, run)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["metric=fidd"], "there is no metric 'fidd': did you mean 'fid'"),
        (["extra_metrics=fid,recal"], "there is no metric 'recal': did you mean 'recall'"),
        (["metric=prdc"], "is a group, .*: name one of precision, recall, density, coverage"),
        (["metric=all"], "is a group, .*: name one, and list the others"),
        (
            ["metric=diversity"],
            "neither a higher nor a lower Diversity is better: name another, such as fid",
        ),
        (
            ["metric=is"],
            r"pixels extractor has no logits, .* \(validation\.metric\): give --set .*name another$",
        ),
        (
            ["extra_metrics=modes"],
            r"has no logits, which Modes needs \(validation\.extra_metrics\): .*leave it out$",
        ),
        (
            ["metric=fid_by_class"],
            r"no labels, .*: give a set with classes and --set num_classes=null, or name",
        ),
        (
            ["extra_metrics=recall", "num_samples=3"],
            r"Recall needs at least 4 images on a side, and there are 3 images \(vali",
        ),
        (["extra_metrics=swd"], r"has images of 8x8, and SWD needs squares of 16"),
        (["extra_metrics=kid", "patience=0"], "patience = 0 does not fit"),
        (["every_ticks=0", "patience=3"], "patience counts validations, and every_ticks=0 turns them off"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_written(
    settings, message, packed_set, tmp_path
):
    with pytest.raises(KennelError, match=message) as error:
        train(tiny(*(f"validation.{one}" for one in settings)), packed_set(), tmp_path / "run")
    assert "\n" not in str(error.value)
    assert not (tmp_path / "run").exists()


def test_a_set_with_too_few_images_is_named(packed_set, tmp_path):
    with pytest.raises(
        RecipeError, match="Recall needs at least 4 images on a side, and there are 3 images of"
    ):
        train(tiny("validation.extra_metrics=recall"), packed_set(count=3), tmp_path / "run")


def test_samples_of_a_conditional_run_are_judged_class_by_class(packed_set, tmp_path):
    recipe = tiny("num_classes=null", "validation.metric=fid_by_class", "num_ticks=2")
    train(recipe, packed_set(classes=2), tmp_path / "run")
    assert all(line["fid_by_class"] > 0 for line in RunDir(tmp_path / "run").log())


def test_all_measures_what_the_extractor_and_the_set_allow(packed_set, tmp_path):
    train(tiny("validation.extra_metrics=all", "num_ticks=1"), packed_set(), tmp_path / "run")
    line = RunDir(tmp_path / "run").log()[-1]
    assert {"fid", "mifid", "nearest_distance", "kid", "recall", "diversity", "vendi"} <= set(line)
    assert not {"inception_score", "swd", "fid_by_class"} & set(line)


def test_the_best_survives_its_own_words_and_refuses_those_of_another_metric():
    best = BestMetric("recall")
    assert [best.add(images, value) for images, value in ((8, 0.25), (16, 0.25), (24, 0.5), (32, 0.1))] == [
        True,
        False,
        True,
        False,
    ]
    again = BestMetric("recall")
    again.restore(best.about())
    assert again.about() == best.about()
    assert (again.value, again.images_seen, again.since) == (0.5, 24, 1)
    other = BestMetric("fid")
    other.restore(best.about())
    assert other.value is None
