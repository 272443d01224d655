"""Moving pictures and their files."""

import sys

import numpy as np
import pytest
from PIL import Image, ImageSequence

from kennel.errors import RunError
from kennel.sampling.animation import Animation, held, there_and_back

TEXT = {"Software": "kennel", "Description": "made by a GAN", "kennel:seeds": "0-3"}


def frames(count: int = 4, color: bool = True) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    blocks = random.integers(0, 256, (count, 5, 7, *([3] if color else [])), np.uint8)
    return list(blocks.repeat(4, axis=1).repeat(4, axis=2))


def animation(color: bool = True, **options) -> Animation:
    return Animation(lambda: frames(color=color), 4, TEXT, **options)


@pytest.mark.parametrize("color", [True, False])
@pytest.mark.parametrize("suffix", ["gif", "webp", "apng", "png"])
def test_every_frame_is_in_the_file(tmp_path, suffix, color):
    told: list[tuple[int, int]] = []
    file = animation(color, fps=10).save(tmp_path / f"a.{suffix}", lambda *count: told.append(count))
    with Image.open(file) as image:
        read = [
            (np.asarray(frame.convert("RGB")), frame.info["duration"])  # a WebP has it once it is decoded
            for frame in ImageSequence.Iterator(image)
        ]
        assert image.info["loop"] == 0
    assert [duration for _, duration in read] == [100] * 4
    for (pixels, _), frame in zip(read, frames(color=color), strict=True):
        assert np.array_equal(pixels, frame if color else frame[:, :, None].repeat(3, axis=2))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_every_format_says_that_a_gan_made_it(tmp_path):
    av = pytest.importorskip("av")
    for suffix in ("gif", "webp", "apng"):
        with Image.open(animation().save(tmp_path / f"a.{suffix}")) as image:
            said = {
                "gif": lambda image: image.info["comment"].decode(),
                "webp": lambda image: image.info["xmp"].decode(),
                "apng": lambda image: image.text["Description"],
            }[suffix](image)
            assert "made by a GAN" in said, suffix
    with av.open(str(animation().save(tmp_path / "a.mp4"))) as container:
        assert "Description: made by a GAN" in container.metadata["comment"]
        assert container.metadata["description"] == "made by a GAN"


def test_an_mp4_has_even_sides_and_close_pixels_and_equal_bytes(tmp_path):
    av = pytest.importorskip("av")
    odd = Animation(lambda: [frame[:19, :27] for frame in frames(color=False)], 4, TEXT, fps=12)
    file = odd.save(tmp_path / "a.mp4")
    with av.open(str(file)) as container:
        stream = container.streams.video[0]
        assert (stream.average_rate, stream.codec.name, stream.width, stream.height) == (12, "h264", 28, 20)
        read = [frame.to_ndarray(format="gray") for frame in container.decode(stream)]
    assert len(read) == 4
    for pixels, frame in zip(read, frames(color=False), strict=True):
        assert np.abs(pixels[:19, :27].astype(int) - frame[:19, :27]).mean() < 30
    assert odd.save(tmp_path / "b.mp4").read_bytes() == file.read_bytes()


def test_without_a_loop_it_is_played_once(tmp_path):
    for suffix, loop in (("gif", None), ("webp", 1), ("apng", 1)):
        with Image.open(animation(loop=False).save(tmp_path / f"a.{suffix}")) as image:
            assert image.info.get("loop") == loop


@pytest.mark.parametrize(
    ("name", "fps", "message"),
    [
        ("a.avi", 30, "is no moving picture's name: give one that ends in .gif"),
        ("a", 30, "is no moving picture's name"),
        ("a.gif", 60, "a GIF has at most 50 frames per second, not 60"),
    ],
)
def test_other_files_are_refused(tmp_path, name, fps, message):
    with pytest.raises(RunError, match=message):
        animation(fps=fps).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_without_pyav_one_sentence_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(RunError, match=r'pip install "kennel\[video\]"'):
        animation().save(tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


def test_an_impossible_speed_is_refused():
    for fps in (0, 121):
        with pytest.raises(RunError, match="give 1 to 120"):
            animation(fps=fps)


def test_a_notebook_plays_it():
    html = animation()._repr_html_()
    assert html.startswith('<img src="data:image/png;base64,')
    assert repr(animation(fps=2)) == "<4 frames, 2.0 s>"


def test_a_failed_drawing_leaves_no_file(tmp_path):
    def broken():
        yield frames()[0]
        raise RunError("no more")

    for suffix in ("gif", "webp", "apng", "mp4"):
        with pytest.raises(RunError, match="no more"):
            Animation(broken, 2, TEXT).save(tmp_path / f"a.{suffix}")
    assert not list(tmp_path.iterdir())


def test_a_loop_goes_back_without_the_ends_and_the_last_frame_can_be_held():
    numbers = [np.full((1, 1), number, np.uint8) for number in range(4)]
    assert [int(frame[0, 0]) for frame in there_and_back(numbers)] == [0, 1, 2, 3, 2, 1]
    assert [int(frame[0, 0]) for frame in there_and_back(numbers[:1])] == [0]
    assert [int(frame[0, 0]) for frame in held(numbers, 2)] == [0, 1, 2, 3, 3, 3]
