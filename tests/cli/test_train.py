"""`kennel train` and `kennel recipes` as a user meets them."""

import importlib
import json
import re
import shutil
import signal

import pytest

from kennel.runs.run_dir import RunDir

TINY = (
    "generator.base_channels=4",
    "discriminator.base_channels=4",
    "batch_size=8",
    "num_ticks=2",
    "image.size=8",
)
QUICK = (
    *(word for setting in (*TINY, "validation.num_samples=20") for word in ("--set", setting)),
    *("--images", "64", "--device", "cpu"),
)


def refused(outcome) -> str:
    """The one sentence of a refusal."""
    assert outcome.code == 2
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    lines = outcome.err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_training_ends_with_a_grid_a_report_and_a_curve(kennel, packed_set, tmp_path):
    command = ("train", "digits", "--data", packed_set(), "--out", tmp_path / "run", *QUICK)
    outcome = kennel(*command, "--seed", "3")
    assert outcome.code == 0, outcome.err
    folder = RunDir(tmp_path / "run")
    assert folder.recipe().seed == 3
    assert "Done: 64 images" in outcome.out
    assert str(folder.report) in outcome.out
    assert folder.report.is_file()
    assert folder.curves.is_file()
    assert [line["images"] for line in folder.log()] == [32, 64]
    assert all(line["fid"] >= 0 for line in folder.log())
    assert len(re.findall(r"FID", outcome.err)) >= 2


def test_a_set_too_small_to_learn_from_is_trained_on_with_a_line_about_it(kennel, packed_set, tmp_path):
    outcome = kennel("train", "digits", "--data", packed_set(count=12), "--out", tmp_path / "run", *QUICK)
    assert outcome.code == 0, outcome.err
    assert "it has 12 distinct images: a GAN memorizes such a small set and repeats it" in outcome.err


def test_a_run_without_improvement_ends_early_and_says_so_again(kennel, packed_set, tmp_path, monkeypatch):
    from kennel.training.validation import Validator

    values = {32: 5.0, 64: 6.0, 96: 7.0}
    monkeypatch.setattr(
        Validator, "values", lambda self, generator, images: {"fid": values[images], "recall": 0.51239}
    )
    settings = ("--images", "128", "--set", "num_ticks=4", "--set", "validation.patience=1")
    command = ("train", "digits", "--data", packed_set(), "--out", tmp_path / "run", *QUICK, *settings)
    outcome = kennel(*command)
    assert outcome.code == 0, outcome.err
    assert "FID 5.00  Recall 0.5124\n" in outcome.err
    assert "FID 6.00  Recall 0.5124  (1 since the best)\n" in outcome.err
    assert "FID has not improved for 1 validation (best 5.00 at 32 images): stopping.\n" in outcome.err
    assert "Done: 64 images" in outcome.out
    report = RunDir(tmp_path / "run").report.read_text()
    assert "Stopped early at 64 images of a budget of 128 images" in report
    again = kennel(*command)
    assert again.code == 0
    assert "The run has stopped early: FID has not improved for 1 validation" in again.err
    assert [line["images"] for line in RunDir(tmp_path / "run").log()] == [32, 64]


def test_the_same_command_again_has_nothing_left_to_do(kennel, packed_set, tmp_path):
    command = ("train", "digits", "--data", packed_set(), "--out", tmp_path / "run", *QUICK)
    kennel(*command)
    before = RunDir(tmp_path / "run").log_file.read_text()
    outcome = kennel(*command)
    assert outcome.code == 0
    assert "Resuming at 64 images" in outcome.err
    assert RunDir(tmp_path / "run").log_file.read_text() == before


def test_a_finished_run_without_its_log_and_grids_is_still_told_of(kennel, packed_set, tmp_path):
    command = ("train", "digits", "--data", packed_set(), "--out", tmp_path / "run", *QUICK)
    assert kennel(*command).code == 0
    folder = RunDir(tmp_path / "run")
    folder.log_file.unlink()
    shutil.rmtree(folder.samples)
    outcome = kennel(*command)
    assert outcome.code == 0, outcome.err
    assert f"Done; {folder.log_file} is missing or damaged" in outcome.out
    assert "Newest grid" not in outcome.out


def test_ctrl_c_leaves_a_checkpoint_and_the_shells_exit_code(kennel, packed_set, tmp_path, monkeypatch):
    module = importlib.import_module("kennel.cli.train")

    on_iteration = module.TrainProgress.on_iteration

    def interrupt(self, images_seen, total):
        on_iteration(self, images_seen, total)
        if images_seen == 40:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(module.TrainProgress, "on_iteration", interrupt)
    command = ("train", "digits", "--data", packed_set(), "--out", tmp_path / "run", *QUICK)
    outcome = kennel(*command)
    assert outcome.code == 130
    assert "same command again" in outcome.out
    assert (tmp_path / "run" / "checkpoints" / "000000000040.safetensors").is_file()
    monkeypatch.setattr(module.TrainProgress, "on_iteration", on_iteration)
    assert kennel(*command).code == 0
    assert [line["images"] for line in RunDir(tmp_path / "run").log()] == [32, 64]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "digts"], "there is no recipe 'digts': did you mean 'digits'"),
        (["train", "digits", "--set", "bach_size=3"], "did you mean 'batch_size'"),
        (["train", "digits", "--images", "many"], "'many' is not a count"),
        (["train", "digits", "--images", "10", "--epochs", "1"], "give one of them"),
        (["train", "digits", "--device", "tpu"], "the device 'tpu' is not available"),
        (["train", "none.yaml"], "there is no recipe file none.yaml"),
        (["train", "dcgan.dogs"], "needs image size 64"),
    ],
)
def test_a_mistake_is_answered_in_one_sentence_and_nothing_is_written(
    kennel, packed_set, tmp_path, arguments, message
):
    outcome = kennel(*arguments, "--data", packed_set(), "--out", tmp_path / "run")
    assert message in refused(outcome)
    assert not (tmp_path / "run").exists()


def test_a_set_that_is_not_there_is_answered_with_what_data_may_be(kennel, tmp_path):
    outcome = kennel("train", "digits", "--data", tmp_path / "none", "--out", tmp_path / "run")
    sentence = "give a folder, zip or tar of images, a known set"
    assert sentence in refused(outcome)


def test_recipes_are_listed_and_printed_in_full(kennel):
    listing = kennel("recipes")
    assert listing.code == 0
    for name in ("gan", "dcgan", "dcgan.dogs", "digits"):
        assert name in listing.out
    full = kennel("recipes", "dcgan.dogs")
    assert "Table I" in full.out
    assert "learning_rate: 0.0005" in full.out
    assert "did you mean 'dcgan'" in refused(kennel("recipes", "dcgann"))


def test_networks_are_listed_with_their_parameters(kennel):
    listing = kennel("networks")
    assert listing.code == 0
    line = next(line for line in listing.out.splitlines() if line.startswith("dcgan "))
    # The DCGAN tutorial's counts and the biases that it leaves out (tests/networks/test_contract.py).
    assert line.split()[1:6] == ["64x64x3", "-", "100", "3,576,707", "2,765,633"]
    assert "128x128x3" in next(line for line in listing.out.splitlines() if line.startswith("biggan "))


def test_a_recipes_story_fits_a_terminal_of_any_width():
    from kennel.cli.recipes import reflowed

    text = "One line\nthat goes on.\n\nData: kennel data\n   --more\nCost: much\nmore."
    assert reflowed(text) == "One line that goes on.\n\nData: kennel data --more\nCost: much more."


def test_the_demo_goes_the_whole_way(kennel, tmp_path):
    outcome = kennel("demo", "--out", tmp_path / "demo", "--images", "640")
    assert outcome.code == 0, outcome.err
    for name in ("grid.png", "run/report.html", "judgement.json"):
        assert (tmp_path / "demo" / name).is_file()
    entries = json.loads((tmp_path / "demo" / "judgement.json").read_text())
    assert {"metric", "value", "protocol"} <= set(entries[0])
    last = outcome.out.strip().splitlines()[-3:]
    assert [line.split(":")[0] for line in last] == ["Sample grid", "Report", "Judgement"]


def test_a_full_disk_is_told_in_one_sentence_and_leaves_no_checkpoint(
    kennel, packed_set, tmp_path, monkeypatch
):
    from safetensors import SafetensorError

    from kennel.storage import safetensors_io

    def full(*given, **named):
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    command = ("train", "digits", "--data", packed_set(), "--out", tmp_path / "run", *QUICK)
    monkeypatch.setattr(safetensors_io, "save_file", full)
    outcome = kennel(*command)
    assert outcome.code == 2
    said = outcome.err.strip().splitlines()[-1]
    assert re.fullmatch(
        r"Error: a checkpoint of \S+run could not be written, no space left on device \(it takes up to [\d,]+"
        r" bytes, and [\d,]+ bytes are free on its disk\); free some space \(you may remove from the "
        r"run's folder: samples/ \([\d,]+ bytes\), tensorboard/ \([\d,]+ bytes\)\) and run the same command "
        r"again",
        said,
    )
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def test_the_user_says_how_much_of_the_set_may_be_held(kennel, packed_set, tmp_path):
    data = packed_set()
    command = ("train", "digits", "--data", data, "--out", tmp_path / "run", *QUICK)
    assert refused(kennel(*command, "--device-cache", "plenty")) == (
        "Error: --device-cache is 'plenty': give auto, always, never, or how much it may fill, such as 8G"
    )
    outcome = kennel(*command, "--device-cache", "never")
    assert outcome.code == 0, outcome.err
    assert f"is streamed from {data}." in outcome.err


def test_a_fork_is_a_run_of_its_own_and_the_refusal_of_a_changed_recipe_leads_to_it(
    kennel, packed_set, tmp_path
):
    command = ("train", "digits", "--data", packed_set(), "--out", tmp_path / "old", *QUICK)
    assert kennel(*command).code == 0
    changed = (*command, "--set", "batch_size=16")
    refusal = kennel(*changed)
    assert refusal.code == 2
    assert "batch_size: 8 -> 16): give the same settings to continue it, another" in refusal.err
    assert f"--out NEW --init-from {tmp_path / 'old'}" in refusal.err
    begun = [tmp_path / "new" if word == tmp_path / "old" else word for word in changed]
    outcome = kennel(*begun, "--init-from", tmp_path / "old")
    assert outcome.code == 0, outcome.err
    assert f"starts with the weights of {tmp_path / 'old'} at 64 images." in outcome.err
    assert str(tmp_path / "new" / "report.html") in outcome.out
    assert [line["images"] for line in RunDir(tmp_path / "new").log()] == [32, 64]
    again = kennel(*begun, "--init-from", tmp_path / "old")
    assert again.code == 0
    assert "Resuming at 64 images" in again.err
    elsewhere = kennel(*changed, "--init-from", tmp_path / "new")
    assert elsewhere.code == 2
    assert "did not start from" in elsewhere.err


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (3600, None),
        (5000, None),
        (2500, None),
        (
            9000,
            "the run takes 2 h 30 min, not 1 h 0 min: .* --images 40000 in place of --hours",
        ),
        (
            1200,
            "the run takes 20 min 0 s, not 1 h 0 min: .* --images 300000 in place of --hours",
        ),
    ],
)
def test_a_run_that_takes_much_longer_or_shorter_than_asked_says_so_once(monkeypatch, capfd, seconds, words):
    train = importlib.import_module("kennel.cli.train")
    now = [0.0]
    monkeypatch.setattr(train.time, "monotonic", lambda: now[0])
    with train.TrainProgress(hours=1.0) as progress:
        for images in range(0, 20_001, 1_000):
            now[0] = images / 100_000 * seconds
            progress.on_iteration(images, 100_000)
            if images:
                progress.on_tick({"images": images})
    said = capfd.readouterr().err
    assert said.count("At this speed") == (words is not None)
    assert words is None or re.search(words, said)
