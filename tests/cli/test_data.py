import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from kennel.cli import main
from kennel.data.dataset import ImageDataset
from kennel.networks import GENERATORS


def kennel(monkeypatch: pytest.MonkeyPatch, *arguments: str | Path) -> int:
    """The exit code of the command, run in this process."""
    monkeypatch.setattr(sys, "argv", ["kennel", *(str(argument) for argument in arguments)])
    with pytest.raises(SystemExit) as left:
        main()
    return int(left.value.code or 0)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Ten coloured pictures in two classes, one of them twice as wide as high."""
    for number in range(10):
        file = tmp_path / "photographs" / f"[{number % 2}] class" / f"{number}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        size = (60, 30) if number == 7 else (30, 30)
        Image.new("RGB", size, (20 * number, 0, 90)).save(file)
    return tmp_path / "photographs"


def test_prepare_then_show(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    destination = tmp_path / "set"
    options = ("--aspect", "0.8:1.25", "--size", "32", "--fit", "pad", "--resample", "box", "--max-bad", "0%")
    assert kennel(monkeypatch, "data", "prepare", photographs, destination, *options) == 0
    packed = ImageDataset(destination)
    assert (len(packed), packed.shape) == (9, (3, 32, 32))
    said = capsys.readouterr().out
    assert "9 images of 32x32 RGB in 2 classes" in said
    assert "aspect" in said
    assert packed.fingerprint in said
    assert kennel(monkeypatch, "data", "show", destination, "--all-classes", "--out", tmp_path / "out") == 0
    said = capsys.readouterr().out
    assert "[0] class" in said
    assert "min 4, 25% 4.25, 50% 4.5, 75% 4.75, max 5" in said
    assert (tmp_path / "out" / "grid_10x10.png").is_file()


def test_labels_splits_and_backgrounds_are_options_and_what_cannot_come_of_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for split in ("train", "val"):
        for name, shade in (("cat", 60), ("dog", 200)):
            file = tmp_path / "source" / split / name / "1.png"
            file.parent.mkdir(parents=True)
            Image.new("RGBA", (8, 8), (shade, 0, len(split), 0)).save(file)
    options = ("--split", "val", "--background", "#0a141e", "--size", "8", "--keep-duplicates")
    assert kennel(monkeypatch, "data", "prepare", tmp_path / "source", tmp_path / "set", *options) == 0
    packed = ImageDataset(tmp_path / "set")
    assert packed.classes == ("cat", "dog")
    assert packed.images[:, :, 0, 0].tolist() == [[10, 20, 30]] * 2
    said = capsys.readouterr().err
    assert "folders of splits: train (2), val (2); used: val" in said
    assert "composited on #0a141e" in said
    assert "its 2 images are all equal, and training can only reproduce this image" in said
    assert "2 of its 2 classes have a single image" in said


def test_a_dry_run_writes_nothing_and_needs_no_destination(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    assert kennel(monkeypatch, "data", "prepare", photographs, "--dry-run", "--min-side", "31") == 0
    said = capsys.readouterr().out
    assert "nothing is written" in said
    assert "too small" in said
    assert sorted(tmp_path.rglob("*")) == before


def test_the_tutorial_keeps_what_cameras_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = [(160, 120), (120, 160), (180, 120), (120, 180), (192, 108), (100, 100)]
    (tmp_path / "photos").mkdir()
    for number, size in enumerate(sizes):
        Image.effect_noise(size, 80).save(tmp_path / "photos" / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "quickstart.md").read_text(encoding="utf-8")
    commands = [
        line.split()[1:] for line in text.splitlines() if line.startswith("kennel data prepare photos")
    ]
    assert len(commands) >= 2
    for command in commands:
        assert kennel(monkeypatch, *command) == 0
        assert "dropped" not in capsys.readouterr().out
    assert len(ImageDataset(tmp_path / "sets" / "mine")) == len(sizes)
    for low_high, kept in (("0.66:1.51", 5), ("0.8:1.25", 1)):  # as the tutorial says of them
        assert kennel(monkeypatch, "data", "prepare", "photos", "--aspect", low_high, "--dry-run") == 0
        words = capsys.readouterr().out.split()
        assert words[words.index("kept") - 2] == str(kept)


def test_a_limit_of_bad_files_is_taken_as_50_as_50_percent_and_as_a_half(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(6):
        (photographs / "[0] class" / f"{number}.jpg").write_bytes(b"text")
    for number, text in enumerate(("50", "50%", "0.5")):
        destination = tmp_path / f"set{number}"
        assert kennel(monkeypatch, "data", "prepare", photographs, destination, "--max-bad", text) == 0
        assert ImageDataset(destination).about["provenance"]["options"]["max_bad"] == 0.5
    assert kennel(monkeypatch, "data", "prepare", photographs, tmp_path / "no", "--max-bad", "0.3") == 2


def test_every_side_that_a_network_draws_is_prepared_and_any_other_on_request(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sides = {side for _, network in GENERATORS.items() for side in network.sizes}
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    assert f"{', '.join(map(str, sorted(sides)[:-1]))} or {max(sides)}, which networks draw" in text
    for side in sorted(sides):
        assert kennel(monkeypatch, "data", "prepare", photographs, "--dry-run", "--size", str(side)) == 0
    capsys.readouterr()
    options = ("--size", "65", "--any-size")
    assert kennel(monkeypatch, "data", "prepare", photographs, tmp_path / "set", *options) == 0
    assert ImageDataset(tmp_path / "set").shape == (3, 65, 65)


def test_a_side_of_its_own_that_few_networks_draw_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    start = bytes((0, 0, 8, 3)) + b"".join(side.to_bytes(4, "big") for side in (2, 20, 20))
    (tmp_path / "train-images-idx3-ubyte").write_bytes(start + bytes(range(200)) * 4)
    assert kennel(monkeypatch, "data", "prepare", tmp_path / "train-images-idx3-ubyte", tmp_path / "set") == 0
    assert "own side is 20, which only the networks of any size support" in capsys.readouterr().err
    assert ImageDataset(tmp_path / "set").shape == (1, 20, 20)


def test_names_to_exclude_can_come_from_a_file(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "names.txt").write_text("1\n\n3.png\n")
    arguments = ("--exclude", f"@{tmp_path / 'names.txt'}", "--exclude", "[0] class/4.png")
    assert kennel(monkeypatch, "data", "prepare", photographs, tmp_path / "set", *arguments) == 0
    assert ImageDataset(tmp_path / "set").about["report"]["dropped"] == {"excluded": 3}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["SOURCE"], "DEST is missing"),
        (["SOURCE", "SET", "--fit", "stretch"], "--fit is 'stretch'"),
        (
            ["SOURCE", "SET", "--size", "65"],
            "--size is 65, which only the networks of any size support (mlp)",
        ),
        (["SOURCE", "--dry-run", "--size", "65"], "give 64 or 128, or add --any-size"),
        (["SOURCE", "SET", "--size", "1"], "give 8, or add"),
        (["SOURCE", "SET", "--size", "512"], "give 256, or add"),
        (["SOURCE", "SET", "--aspect", "wide"], "--aspect is 'wide'"),
        (["SOURCE", "SET", "--min-side", "500"], "none is kept"),
        (["SOURCE", "SET", "--exclude", "@absent.txt"], "cannot be read"),
        (["digitz", "SET"], "did you mean 'digits'?"),
        (["mnist", "SET", "--from", "SOURCE"], "lacks train-images-idx3-ubyte.gz"),
        (["SOURCE", "SOURCE"], "is inside SOURCE"),
        (
            ["celeba", "SET"],
            "list_eval_partition.txt and list_attr_celeba.txt, and give the folder with --from",
        ),
        (["lsun", "SET", "--from", "SOURCE"], "has no LMDB"),
        (["imagenet", "SET", "--from", "SOURCE", "--subset", "birdz"], "did you mean 'bird'?"),
        (["SOURCE", "SET", "--category", "bridge"], "--category is for lsun"),
        (["SOURCE", "SET", "--center-crop", "20", "--crop", "box"], "--center-crop excludes --crop box"),
        (["SOURCE", "SET", "--center-crop", "31"], "none is kept"),
        (["SOURCE", "SET", "--range", "12"], "--range is '12'"),
        (["SOURCE", "SET", "--range", "9:9"], "--range 9:9 is empty"),
        (["SOURCE", "SET", "--background", "blue"], "--background is 'blue'"),
        (["SOURCE", "SET", "--labels", "no.csv"], "--labels is 'no.csv'"),
        (["digits", "SET", "--labels", "none"], "--labels is for a folder or archive"),
        (["mnist", "SET", "--from", "SOURCE", "--split", "val"], "has the parts train and test"),
        (["SOURCE", "SET", "--split", "val"], "has no folders of splits"),
    ],
)
def test_what_cannot_be_is_one_sentence_and_exit_code_2(
    arguments: list[str],
    words: str,
    photographs: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    places = {"SOURCE": str(photographs), "SET": str(tmp_path / "set")}
    assert kennel(monkeypatch, "data", "prepare", *(places.get(word, word) for word in arguments)) == 2
    said = capsys.readouterr().err
    assert words in said
    assert "Traceback" not in said
    assert not (tmp_path / "set").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photographs"]


def test_the_list_names_every_known_set_with_its_terms(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kennel(monkeypatch, "data", "list") == 0
    said = capsys.readouterr().out
    for word in ("digits", "mnist", "fashion_mnist", "cifar10", "stanford_dogs", "non-commercial"):
        assert word in said
    for word in ("celeba_hq", "imagenet", "lsun", "download it from https://image-net.org"):
        assert word in said


def test_showing_what_is_not_a_packed_set_says_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kennel(monkeypatch, "data", "show", tmp_path) == 2
    assert "kennel data prepare" in capsys.readouterr().err


def test_an_interrupted_command_leaves_nothing_behind(tmp_path: Path) -> None:
    """The real thing: a process, a real interrupt from the keyboard."""
    import signal
    import time

    stream = io.BytesIO()
    Image.effect_noise((500, 500), 80).save(stream, format="PNG")
    (tmp_path / "source").mkdir()
    for number in range(600):
        (tmp_path / "source" / f"{number}.png").write_bytes(stream.getvalue())
    command = [sys.executable, "-m", "kennel", "data", "prepare", "source", "set", "--keep-duplicates"]
    process = subprocess.Popen(
        command,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A shell that runs the tests in its background has interrupts ignored, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 (before any thread)
    )
    deadline = time.monotonic() + 20
    while not list(tmp_path.glob(".set.*")) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode != 0
    assert b"Traceback" not in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]
