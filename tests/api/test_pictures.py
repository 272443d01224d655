"""Moving pictures, contact sheets and the nearest image from Python."""

import numpy as np
import pytest
from PIL import Image

import kennel
from kennel.errors import KennelError
from kennel.sampling import image_distance, likeness

SETTINGS = ("generator.hidden=[8,8]", "discriminator.hidden=[8,8]", "batch_size=8", "num_ticks=1")


@pytest.fixture
def run(packed_set):
    """A finished run of three classes."""
    settings = [*SETTINGS, "validation.every_ticks=0"]
    return kennel.train(
        "cgan", packed_set(classes=3), "run", images=16, settings=settings, device="cpu", quiet=True
    )


def test_a_run_draws_moving_pictures_and_sheets(run, tmp_path, monkeypatch):
    walk = run.interpolate([3, 1], frames=2, count=4, class_="class 1")
    assert len(walk) == len(list(walk)) == 4
    assert len(run.morph(["class 0", 2], frames=3, loop=False)) == 4
    assert len(run.timelapse()) == 2 + 8
    with Image.open(walk.save("walk.gif")) as image:
        assert image.n_frames == 4
    run.sample(4).save("plain.png")
    run.sample(4).save("sheet.png", labels=True)
    with Image.open("plain.png") as plain, Image.open("sheet.png") as sheet:
        assert sheet.size[1] > plain.size[1]
    chosen = run.sample(seeds=[9, 2])
    assert chosen.seeds == (9, 2)
    assert np.abs(chosen.pixels[1].astype(int) - run.sample(1, seed=2).pixels[0]).max() <= 1
    monkeypatch.setattr(image_distance, "NETWORK", "untrained")
    monkeypatch.setattr(likeness, "CANDIDATES", 8)
    found = run.like(chosen.pixels[0], steps=2, class_=2)
    assert found.label == 2
    assert found._repr_png_().startswith(b"\x89PNG")


def test_mistakes_are_errors_of_kennel(run):
    for call, message in (
        (lambda: run.interpolate(frame=3), "did you mean 'frames'"),
        (lambda: run.interpolate([1]), "at least two"),
        (lambda: run.morph(["clas 0", 1]), "did you mean 'class 0'"),
        (lambda: run.mix([0], [1]), "has no styles to mix"),
        (lambda: run.like("nosuch.png"), "is not a usable image"),
        (lambda: run.sample(seeds=[1], classes="each"), "leave `seeds` out"),
    ):
        with pytest.raises(KennelError, match=message):
            call()
