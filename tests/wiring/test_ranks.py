"""Two ranks share a run: it stops, goes on and fails as one, and rank 0 alone writes."""

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from kennel import checkpoint
from kennel.recipe import override
from kennel.recipes import built_in
from kennel.run_folder import RunFolder

SCRIPT = str(Path(__file__).with_name("one_training_rank.py"))
TINY = [
    *("image.channels=1", "image.size=8", "batch=8", "ticks=4", "budget.images=160", "classes=0"),
    *("generator.width=4", "discriminator.width=4", "validation.every_ticks=0"),
    *("techniques.ema=on", "techniques.lecam.start_images=0", "techniques.mine.hidden=[8]"),
    *("techniques.ada.interval=2", "techniques.minibatch_stddev=on"),
]
CASES = 10


def free_ports(count: int) -> list[str]:
    """Ports that nobody has, each another."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [str(one.getsockname()[1]) for one in sockets]


@pytest.fixture(scope="module")
def told(tmp_path_factory, request) -> tuple[Path, list[dict[str, str]]]:
    """The folder of all runs, and what each rank printed of each case."""
    folder = tmp_path_factory.mktemp("ranks")
    make = packed(folder)
    data, other = make("set", 40), make("other", 41)
    (folder / "recipe.yaml").write_text(override(built_in("digits"), TINY).to_yaml())
    arguments = [SCRIPT, str(folder), str(folder / "recipe.yaml"), str(data), str(other), *free_ports(CASES)]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "", "OMP_NUM_THREADS": "1"}
    shared["KENNEL_CACHE"] = str(folder / "cache")
    processes = [
        subprocess.Popen(
            [sys.executable, *arguments],
            env=dict(os.environ) | shared | {"RANK": str(own)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for own in (0, 1)
    ]
    said = [process.communicate(timeout=300) for process in processes]
    assert [process.returncode for process in processes] == [0, 0], said
    return folder, [dict(line.split(" ", 1) for line in out.splitlines()) for out, _ in said]


def packed(folder: Path):
    """Makes sets of so many random images."""
    import json

    import numpy as np

    from kennel.data.packed import FORMAT, set_fingerprint

    def make(name: str, count: int) -> Path:
        (folder / name).mkdir()
        images = np.random.default_rng(count).integers(0, 256, (count, 1, 8, 8), dtype=np.uint8)
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
    folder = RunFolder(run)
    newest = checkpoint.newest(folder.checkpoints)
    timeless = [{key: value for key, value in line.items() if "second" not in key} for line in folder.log()]
    grids = {path.name: path.read_bytes() for path in sorted(folder.samples.glob("*.png"))}
    return {"checksum": newest.about["checksum"], "log": timeless, "grids": grids}


def test_a_run_that_one_rank_stopped_goes_on_bit_for_bit(told):
    folder, (first, second) = told
    assert first["whole"] == second["whole"] == "True []"
    asked = "Rank 1 was asked to stop: all stop after this round, with a checkpoint."
    assert first["stopped"] == f"False ['{asked}']"
    assert second["stopped"] == "False []"
    assert first["went_on"] == second["went_on"] == "True []"
    assert outcome(folder / "stopped") == outcome(folder / "whole")
    assert [line["images"] for line in RunFolder(folder / "whole").log()] == [40, 80, 120, 160]


def test_what_two_ranks_began_one_process_ends(told):
    folder, (first, second) = told
    assert first["alone_it_goes_on"].startswith("True")
    assert second["alone_it_goes_on"].startswith("True")
    ended, whole = (RunFolder(folder / name).log()[-1] for name in ("ended alone", "whole"))
    assert ended["images"] == whole["images"] == 160
    assert ended["discriminator_loss"] == pytest.approx(whole["discriminator_loss"], rel=1e-3)


def test_a_metric_that_does_not_improve_ends_the_run_on_all_ranks(told):
    folder, (first, second) = told
    assert "has not improved for 1 validation (best 0" in first["patience"]
    assert first["patience"].startswith("True")
    assert second["patience"] == "True []"
    log = RunFolder(folder / "patience").log()
    assert log[-1]["validations_since_best"] == 1
    assert log[-1]["images"] < 160
    assert checkpoint.newest(RunFolder(folder / "patience").checkpoints).images_seen == log[-1]["images"]


def test_a_batch_that_ranks_do_not_divide_is_refused(told):
    folder, (first, second) = told
    assert "a batch of 9 images cannot be divided among 2 ranks" in first["uneven"]
    assert "give --set batch=8, or another number of ranks" in first["uneven"]
    assert second["uneven"] == "SystemExit(2) [] []"
    assert not (folder / "uneven").exists()


def test_ranks_with_different_sets_are_refused(told):
    folder, (first, _) = told
    assert "rank 1 has another set under the name" in first["other_set"]
    assert not (folder / "other set").exists()


def test_ranks_that_drifted_apart_are_told_before_anything_of_it_is_written(told):
    folder, (first, second) = told
    assert "before 40 images the generator of rank 1 was no longer that of rank 0" in first["drift"]
    assert second["drift"] == "SystemExit(2) [] []"
    assert checkpoint.newest(RunFolder(folder / "drift").checkpoints) is None


def test_what_fails_on_one_rank_ends_all_with_its_sentence(told):
    _, (first, second) = told
    assert first["fails_at_a_tick"].startswith("SystemExit(2)")
    assert "checkpoints" in first["fails_at_a_tick"]
    assert "Input/output error" in first["fails_in_a_round"]
    assert second["fails_at_a_tick"] == second["fails_in_a_round"] == "SystemExit(2) [] []"


def test_rank_0_alone_writes_and_the_folder_is_that_of_one_process(told):
    folder, _ = told
    run = RunFolder(folder / "whole")
    assert len(list(run.samples.iterdir())) == 5
    assert len(list(run.tensorboard.iterdir())) == 1
