"""`kennel fetch`, and sampling by the name of what it fetched; from this machine alone."""

import hashlib
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from kennel.config.recipe import override
from kennel.recipes import get_recipe
from kennel.sampling.releases import RELEASES, place_of, repository_file
from kennel.training.run import train


@pytest.fixture
def file(packed_set, tmp_path, kennel):
    """An exported generator."""
    settings = [
        "generator.base_channels=4",
        "discriminator.base_channels=4",
        "batch_size=8",
        "num_ticks=1",
        "budget.images=16",
    ]
    recipe = override(get_recipe("digits"), [*settings, "image.size=8", "validation.every_ticks=0"])
    train(recipe, packed_set(), tmp_path / "run")
    assert kennel("export", tmp_path / "run", "--out", tmp_path / "served" / "tiny.safetensors").code == 0
    return tmp_path / "served" / "tiny.safetensors"


@pytest.fixture
def address(file, monkeypatch):
    """Where an HTTP server on this machine serves it."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    monkeypatch.setenv("no_proxy", "*")
    handler = partial(Quiet, directory=str(file.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/{file.name}"
        running.shutdown()
        thread.join()


def publish(monkeypatch, **about) -> None:
    monkeypatch.setitem(RELEASES._entries, "dogs", replace(RELEASES["dogs"], **{"file": None, **about}))


def sha256(file) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def test_a_release_is_downloaded_checked_and_sampled_by_its_name(
    kennel, file, address, tmp_path, monkeypatch
):
    publish(monkeypatch, address=address, sha256=sha256(file), size=file.stat().st_size)
    monkeypatch.chdir(tmp_path)
    before = kennel("sample", "dogs")
    assert before.code == 2
    assert "run `kennel fetch dogs`" in before.err
    outcome = kennel("fetch", "dogs")
    assert outcome.code == 0, outcome.err
    assert "Fetched" in outcome.out
    assert "kennel sample dogs" in outcome.out
    assert place_of("dogs").read_bytes() == file.read_bytes()
    assert kennel("sample", "dogs", "--count", 4).code == 0
    assert (tmp_path / "dogs-seeds0-3.png").is_file()
    publish(monkeypatch, address="http://127.0.0.1:1/gone", sha256=sha256(file))
    assert "Already there" in kennel("fetch", "dogs").out


def test_what_is_not_the_release_gets_no_name(kennel, file, address, monkeypatch):
    for about, message in (
        ({"sha256": "0" * 64, "size": None}, "is not the generator dogs"),
        ({"sha256": sha256(file), "size": 100}, "it has more than 100 bytes"),
        ({"address": "http://127.0.0.1:1/x", "sha256": "0" * 64}, "cannot be downloaded"),
    ):
        publish(monkeypatch, **({"address": address} | about))
        outcome = kennel("fetch", "dogs")
        assert outcome.code == 2, outcome.out
        assert message in outcome.err
        assert len(outcome.err.strip().splitlines()) == 1
        assert not list(place_of("dogs").parent.glob("*")), "nothing is left behind"


def test_a_release_in_the_repository_is_taken_from_a_clone(kennel, file, tmp_path, monkeypatch):
    publish(monkeypatch, address=None, file="models/tiny.safetensors", sha256=sha256(file))
    monkeypatch.chdir(tmp_path)
    outcome = kennel("fetch", "dogs")
    assert outcome.code == 2
    assert "dogs is models/tiny.safetensors in kennel's repository, and this is no clone of it" in outcome.err
    (tmp_path / "models").mkdir()
    file.rename(tmp_path / "models" / "tiny.safetensors")
    outcome = kennel("fetch", "dogs")
    assert outcome.code == 0, outcome.err
    assert "as expected" in outcome.out
    (tmp_path / "models" / "tiny.safetensors").write_bytes(b"another one")
    place_of("dogs").unlink()
    assert "is not the generator dogs" in kennel("fetch", "dogs").err


def test_as_long_as_nothing_is_published_the_way_with_a_file_is_named(kennel, file, monkeypatch):
    publish(monkeypatch, address=None, file=None, sha256=None, size=None)
    outcome = kennel("fetch", "dogs")
    assert outcome.code == 2
    assert "dogs is not published yet" in outcome.err
    assert "--from FILE" in outcome.err
    taken = kennel("fetch", "dogs", "--from", file, "--sha256", sha256(file))
    assert taken.code == 0, taken.err
    assert "as expected" in taken.out
    assert kennel("fetch", "mine", "--from", file.as_uri()).code == 0
    listed = kennel("fetch")
    assert "mine" in listed.out
    assert "not published yet" in listed.out


def test_mistakes_are_answered_in_one_sentence(kennel, file, tmp_path):
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"no generator")
    for command, message in (
        (("fetch", "dosg"), "did you mean 'dogs'"),
        (("fetch", "../x", "--from", file), "is not a valid name"),
        (("fetch", "mine", "--from", tmp_path / "absent"), "there is no file"),
        (("fetch", "mine", "--from", "~nobody-of-this-name/a.safetensors"), "there is no file ~nobody"),
        (("fetch", "mine", "--from", other), f"{other} is not a safetensors file"),
        (("fetch", "mine", "--from", file, "--sha256", "12"), "64 hexadecimal digits"),
        (("fetch", "mine", "--from", file, "--sha256", "0" * 64), "is not the generator mine"),
        (("fetch", "--from", file), "give NAME too"),
    ):
        outcome = kennel(*command)
        assert outcome.code == 2, outcome.out
        assert message in outcome.err
        assert len(outcome.err.strip().splitlines()) == 1
    assert not place_of("mine").exists()


def test_a_generator_of_your_own_is_found_again_and_sampled_by_its_whole_name(
    kennel, file, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for name in ("cats.one", "cats.two"):
        assert kennel("fetch", name, "--from", file).code == 0
        again = kennel("fetch", name)
        assert again.code == 0, again.err
        assert "Already there" in again.out
        assert kennel("sample", name, "--count", 4).code == 0
    grids = sorted(path.name for path in tmp_path.glob("cats*.png"))
    assert grids == ["cats.one-seeds0-3.png", "cats.two-seeds0-3.png"]


def test_the_released_dogs_are_those_whose_checksum_is_registered():
    release = RELEASES["dogs"]
    path = repository_file(release)
    assert path is not None
    assert (sha256(path), path.stat().st_size) == (release.sha256, release.size)
