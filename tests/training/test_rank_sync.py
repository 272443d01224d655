"""Two ranks share a run: it stops, goes on and fails as one, and rank 0 alone writes."""

from pathlib import Path

import pytest

from kennel.config.recipe import override
from kennel.recipes import get_recipe
from kennel.runs import checkpoint
from kennel.runs.run_dir import RunDir
from kennel.training.restore import seed_after

SCRIPT = str(Path(__file__).with_name("one_training_rank.py"))
TINY = [
    *(
        "image.channels=1",
        "image.size=8",
        "batch_size=8",
        "num_ticks=4",
        "budget.images=160",
        "num_classes=0",
    ),
    *("generator.base_channels=4", "discriminator.base_channels=4", "validation.every_ticks=0"),
    *("techniques.ema=on", "techniques.lecam.start_images=0", "techniques.mine.hidden=[8]"),
    *("techniques.ada.interval=2", "techniques.minibatch_stddev=on"),
]


@pytest.fixture(scope="module")
def told(once, two_ranks) -> tuple[Path, list[dict[str, str]]]:
    """The folder of all runs, and what each rank printed of each case."""

    def output(folder: Path) -> None:
        make = packed(folder)
        data, other = make("set", 40), make("other", 41)
        make("pictures", 12, 32)
        (folder / "recipe.yaml").write_text(override(get_recipe("digits"), TINY).to_yaml())
        arguments = [SCRIPT, str(folder), str(folder / "recipe.yaml"), str(data), str(other)]
        codes, said = two_ranks(*arguments, seconds=300, KENNEL_CACHE=str(folder / "cache"))
        assert codes == [0, 0], said
        for own, (out, _) in enumerate(said):
            (folder / f"said-{own}.txt").write_text(out)

    folder = once("ranks", output)
    said = [(folder / f"said-{own}.txt").read_text() for own in (0, 1)]
    return folder, [dict(line.split(" ", 1) for line in out.splitlines()) for out in said]


def packed(folder: Path):
    """Makes sets of so many random images."""
    import json

    import numpy as np

    from kennel.data.dataset import FORMAT, set_fingerprint

    def make(name: str, count: int, side: int = 8) -> Path:
        (folder / name).mkdir()
        images = np.random.default_rng(count).integers(0, 256, (count, 1, side, side), dtype=np.uint8)
        np.save(folder / name / "images.npy", images)
        about = {
            "format": FORMAT,
            "count": count,
            "classes": (),
            "fingerprint": set_fingerprint(images, None, ()),
        }
        (folder / name / "dataset.json").write_text(json.dumps(about))
        return folder / name

    return make


def outcome(run: Path) -> dict[str, object]:
    """All that must be equal between two runs: the newest checkpoint, the log but for times, the grids."""
    folder = RunDir(run)
    newest = checkpoint.newest(folder.checkpoints)
    timeless = [{key: value for key, value in line.items() if "second" not in key} for line in folder.log()]
    grids = {path.name: path.read_bytes() for path in sorted(folder.samples.glob("*.png"))}
    watched = {"spectra": folder.spectra(), "alarms": folder.alarms()}
    return {"checksum": newest.metadata["checksum"], "log": timeless, "grids": grids} | watched


def test_a_run_that_one_rank_stopped_goes_on_bit_for_bit(told):
    folder, (first, second) = told
    assert first["whole"] == second["whole"] == "True []"
    asked = "Rank 1 requests a stop: all ranks stop now, with a checkpoint."
    assert first["stopped"] == f"False ['{asked}']"
    assert second["stopped"] == "False []"
    assert first["went_on"] == second["went_on"] == "True []"
    assert outcome(folder / "stopped") == outcome(folder / "whole")
    assert [line["images"] for line in RunDir(folder / "whole").log()] == [40, 80, 120, 160]


def test_what_two_ranks_began_one_process_ends(told):
    folder, (first, second) = told
    assert first["alone_it_goes_on"].startswith("True")
    assert second["alone_it_goes_on"].startswith("True")
    ended, whole = (RunDir(folder / name).log()[-1] for name in ("ended alone", "whole"))
    assert ended["images"] == whole["images"] == 160
    assert ended["discriminator_loss"] == pytest.approx(whole["discriminator_loss"], rel=1e-3)


def test_a_metric_that_does_not_improve_ends_the_run_on_all_ranks(told):
    folder, (first, second) = told
    assert "has not improved for 1 validation (best 0" in first["patience"]
    assert first["patience"].startswith("True")
    assert second["patience"] == "True []"
    log = RunDir(folder / "patience").log()
    assert log[-1]["validations_since_best"] == 1
    assert log[-1]["images"] < 160
    assert checkpoint.newest(RunDir(folder / "patience").checkpoints).images_seen == log[-1]["images"]


def test_a_batch_that_ranks_do_not_divide_is_refused(told):
    folder, (first, second) = told
    assert "a batch of 9 images, the total over all ranks, cannot be divided among 2 ranks" in first["uneven"]
    assert "give --set batch_size=8, or another number of ranks" in first["uneven"]
    assert second["uneven"] == "SystemExit(2) [] []"
    assert not (folder / "uneven").exists()


def test_ranks_with_different_sets_are_refused(told):
    folder, (first, _) = told
    assert "rank 1 has another set with the name" in first["other_set"]
    assert not (folder / "other set").exists()


def test_ranks_that_drifted_apart_are_told_before_anything_of_it_is_written(told):
    folder, (first, second) = told
    assert "before 40 images the generator of rank 1 differs from that of rank 0" in first["drift"]
    assert second["drift"] == "SystemExit(2) [] []"
    assert checkpoint.newest(RunDir(folder / "drift").checkpoints) is None


def test_what_fails_on_one_rank_ends_all_with_its_sentence(told):
    _, (first, second) = told
    assert first["fails_at_a_tick"].startswith("SystemExit(2)")
    assert "checkpoints" in first["fails_at_a_tick"]
    assert "Input/output error" in first["fails_in_a_round"]
    assert second["fails_at_a_tick"] == second["fails_in_a_round"] == "SystemExit(2) [] []"


def test_rank_0_alone_writes_and_the_folder_is_that_of_one_process(told):
    folder, _ = told
    run = RunDir(folder / "whole")
    assert len(list(run.samples.iterdir())) == 5
    assert len(list(run.tensorboard.iterdir())) == 1


def test_a_rollback_ends_with_one_state_one_key_and_one_rate_on_all_ranks(told):
    folder, (first, second) = told
    own, other = (one["rolled_back"].removesuffix(" []").split() for one in (first, second))
    assert own == other
    done, _, key, rate = own
    assert done == "True"
    recipe = override(get_recipe("digits"), TINY)
    assert int(key) == seed_after(recipe.seed, 1)
    assert float(rate) == recipe.generator_optimizer.learning_rate / 2
    run = RunDir(folder / "rolled back")
    alarm, back = run.alarms()
    assert alarm["alarm"] == "exploding_spectrum"
    assert back["rollback"] == 1
    assert back["back_to"] <= 80 < back["images"]
    assert [line["images"] for line in run.log()] == [40, 80, 120, 160]
    assert [line["images"] for line in run.spectra()] == [0, 40, 80, 120, 160]


def test_two_ranks_resume_bit_for_bit_across_their_rollback(told):
    folder, (first, second) = told
    assert first["rolled_back_in_sittings"].startswith("True")
    assert second["rolled_back_in_sittings"].startswith("True")
    assert outcome(folder / "rolled back in sittings") == outcome(folder / "rolled back")


def test_one_ranks_loss_that_is_not_finite_takes_all_back(told):
    folder, (first, second) = told
    assert first["rolled_back_from_a_loss"].startswith("True")
    assert second["rolled_back_from_a_loss"].startswith("True")
    alarm, back = RunDir(folder / "rolled back from a loss").alarms()
    assert alarm["alarm"] == "non_finite"
    assert (alarm["images"], back["images"]) == (120, 120)  # ranks look at the end of a tick
    assert RunDir(folder / "rolled back from a loss").log()[-1]["images"] == 160


def test_one_ranks_loss_takes_all_back_where_a_tick_ends_within_a_round(told):
    folder, (first, second) = told
    assert first["rolled_back_from_a_boosted_round"].startswith("True")
    assert second["rolled_back_from_a_boosted_round"].startswith("True")
    run = RunDir(folder / "rolled back from a boosted round")
    alarm, back = run.alarms()
    assert alarm["alarm"] == "non_finite"
    assert (alarm["images"], back["images"]) == (96, 96)
    assert [line["images"] for line in run.log()] == [48, 96, 120, 168]


def test_one_ranks_term_that_is_not_finite_and_has_no_gradient_leaves_all_with_one_state(told):
    _, (first, second) = told
    assert first["detached_weights"] == second["detached_weights"]
    assert "generator loss became inf before 120 images: the run stops" in first["detached"]
    assert second["detached"] == "SystemExit(2) [] []"


def test_rank_0s_scores_are_waited_for_and_where_they_fail_all_end(told):
    folder, (first, second) = told
    assert first["scores_fail"] == "SystemExit(2) ['no scores'] []"
    assert second["scores_fail"] == "SystemExit(2) [] []"
    assert second["scores_waited_for"] == "7"
    assert RunDir(folder / "scores fail").log() == []


def test_each_rank_drops_values_of_its_own(told):
    shares, masks = zip(*(one["dropped"].split() for one in told[1]), strict=True)
    assert all(0.3 < float(share) < 0.7 for share in shares)
    assert masks[0] != masks[1]


def test_what_one_rank_samples_by_standing_statistics_needs_no_other(told):
    folder, (first, second) = told
    assert first["standing"].startswith("True")
    assert second["standing"].startswith("True")
    several, one = (RunDir(folder / name) for name in ("standing", "standing alone"))
    grid = "000000000000.png"
    assert (several.samples / grid).read_bytes() == (one.samples / grid).read_bytes()
    assert several.log()[0]["fid"] == pytest.approx(one.log()[0]["fid"], rel=1e-3)


def test_one_ranks_loss_that_is_not_finite_ends_all_with_one_sentence(told):
    folder, (first, second) = told
    assert first["not_finite"].count("the run stops and keeps its last checkpoint") == 1
    assert "not finite in the generator's step some iterations before 120" in first["not_finite"]
    assert "first seen in the losses or terms of rank 1; those of rank 0 are finite" in first["not_finite"]
    assert second["not_finite"] == "SystemExit(2) [] []"
    run = RunDir(folder / "not finite")
    assert [line["alarm"] for line in run.alarms()] == ["non_finite"]
    assert checkpoint.newest(run.checkpoints).images_seen == 80


def test_a_fork_begins_with_its_parents_weights_on_all_ranks(told):
    folder, (first, second) = told
    assert first["forked"].startswith("True")
    assert second["forked"].startswith("True")
    several, one = (RunDir(folder / name) for name in ("forked", "forked alone"))
    assert several.about()["parent"]["images_seen"] == 160
    assert several.spectra()[0] == one.spectra()[0]
    for name in ("000000000000.png", "000000000040.png"):
        assert (several.samples / name).is_file()
    assert (several.samples / "000000000000.png").read_bytes() == (
        one.samples / "000000000000.png"
    ).read_bytes()
    for key in ("discriminator_loss", "generator_loss"):
        assert several.log()[0][key] == pytest.approx(one.log()[0][key], rel=1e-3)


def test_a_validation_that_one_process_gave_up_two_ranks_do(told):
    folder, (first, second) = told
    assert first["tick_due"].startswith("True")
    assert second["tick_due"].startswith("True")
    run = RunDir(folder / "tick due")
    assert [line["images"] for line in run.log()] == [40, 80, 120, 160]
    assert ["fid" in line for line in run.log()] == [False, True, False, True]
    assert [line["images"] for line in run.spectra()] == [0, 40, 80, 120, 160]
    # The tick that was due has the means of all its rounds, those that one process played.
    other = RunDir(folder / "whole").log()[1]
    assert run.log()[1]["discriminator_loss"] == pytest.approx(other["discriminator_loss"], rel=1e-3)


def test_all_ranks_are_conditioned_on_the_instances_that_rank_0_saw(told):
    folder, (first, second) = told
    assert first["with_instances"] == second["with_instances"] == "True []"
    several, one = (RunDir(folder / name) for name in ("with instances", "with instances alone"))
    grid = "000000000000.png"
    assert (several.samples / grid).read_bytes() == (one.samples / grid).read_bytes()
    for key in ("discriminator_loss", "generator_loss"):
        assert several.log()[0][key] == pytest.approx(one.log()[0][key], rel=1e-3)
