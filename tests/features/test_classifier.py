import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from kennel.data.dataset import ImageDataset
from kennel.errors import DataError, WeightsError
from kennel.features.base import Extracted
from kennel.features.classifier import (
    Classifier,
    ClassifierNetwork,
    as_channels,
    classifier_file_for,
    classifier_path,
    read_facts,
    trained_classifiers,
)
from kennel.features.resize import half_pixel_bilinear
from kennel.features.train_classifier import (
    TrainedClassifier,
    class_accuracies,
    default_epochs,
    held_out_rows,
    learning_rate,
    train_classifier,
)
from kennel.features.weights import tensors_digest


@pytest.fixture(scope="module")
def packed(labelled_set: Path) -> ImageDataset:
    return ImageDataset(labelled_set)


@pytest.fixture(scope="module")
def trained(packed: ImageDataset, tmp_path_factory: pytest.TempPathFactory) -> TrainedClassifier:
    return train_classifier(packed, tmp_path_factory.mktemp("trained") / "three.safetensors", epochs=20)


def judged(trained: TrainedClassifier, pixels: torch.Tensor) -> Extracted:
    return Classifier.open(trained.path).extract(pixels)


def all_pixels(packed: ImageDataset) -> torch.Tensor:
    return torch.from_numpy(np.array(packed.images))


def test_classes_that_can_be_told_apart_are_told_apart_where_they_were_not_seen(
    trained: TrainedClassifier, packed: ImageDataset
) -> None:
    assert trained.facts.accuracy == 1.0
    assert trained.facts.held_out == 12
    logits = judged(trained, all_pixels(packed)).logits
    assert logits is not None
    assert packed.labels is not None
    assert logits.argmax(1).tolist() == packed.labels.tolist()


def test_labels_that_say_nothing_are_guessed_no_better_than_by_chance(
    make_packed_set, tmp_path: Path
) -> None:
    generator = np.random.default_rng(3)
    images, labels = generator.integers(0, 256, (600, 1, 8, 8)), generator.integers(0, 2, 600)
    folder = make_packed_set(tmp_path / "noise", images, labels, 2)
    accuracy = train_classifier(ImageDataset(folder), epochs=3).facts.accuracy
    assert abs(accuracy - 0.5) < 4 * (0.25 / 60) ** 0.5  # 60 are held out: four deviations of a fair coin


def test_the_accuracy_in_the_file_is_the_extractors_own_on_the_rows_held_out(
    make_packed_set, tmp_path: Path
) -> None:
    generator = np.random.default_rng(5)
    labels = np.arange(300, dtype=np.int64) % 2
    images = generator.integers(0, 200, (300, 1, 10, 10))
    images[labels == 1, :, :2] += 25
    packed = ImageDataset(make_packed_set(tmp_path / "hard", images, labels, 2))
    trained = train_classifier(packed, epochs=1, seed=2)
    rows = held_out_rows(labels, 2)
    logits = judged(trained, all_pixels(packed)[rows]).logits
    assert logits is not None
    assert trained.facts.accuracy == float((logits.argmax(1).numpy() == labels[rows]).mean())
    assert 0.3 < trained.facts.accuracy < 1


def test_digits_are_read_after_a_few_epochs(make_packed_set, tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images[:, None] * 255 / 16).astype(np.int64)
    folder = make_packed_set(tmp_path / "digits", images, digits.target.astype(np.int64), 10)
    facts = train_classifier(ImageDataset(folder), epochs=4).facts
    assert facts.accuracy > 0.95
    assert facts.held_out == sum(round(count / 10) for count in np.bincount(digits.target))


def test_a_seed_gives_the_same_tensors_again_and_another_seed_others(
    packed: ImageDataset, tmp_path: Path
) -> None:
    digests = []
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        torch.rand(3)  # what was drawn before does not matter
        train_classifier(packed, tmp_path / name, epochs=2, seed=seed)
        digests.append(tensors_digest(load_file(tmp_path / name)))
    assert digests[0] == digests[1]
    assert digests[0] != digests[2]


def test_training_leaves_the_global_generator_where_it_was(packed: ImageDataset, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    train_classifier(packed, tmp_path / "one", epochs=1)
    assert torch.equal(before, torch.get_rng_state())


def test_a_tenth_of_every_class_is_held_out_and_never_trained_on() -> None:
    labels = np.repeat(np.arange(4), [100, 37, 2, 1]).astype(np.int64)
    rows = held_out_rows(labels, seed=0)
    assert np.bincount(labels[rows], minlength=4).tolist() == [10, 4, 1, 0]
    assert len(set(rows.tolist())) == len(rows)
    assert held_out_rows(labels, seed=0).tolist() == rows.tolist()
    assert held_out_rows(labels, seed=1).tolist() != rows.tolist()


def test_pixels_held_out_have_no_part_in_the_training(make_packed_set, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    labels = np.arange(60, dtype=np.int64) % 2
    images = generator.integers(0, 256, (60, 1, 8, 8))
    other = images.copy()
    other[held_out_rows(labels, 0)] = 0
    states = []
    for name, pixels in (("one", images), ("other", other)):
        packed = ImageDataset(make_packed_set(tmp_path / name, pixels, labels, 2))
        states.append(load_file(train_classifier(packed, epochs=1).path))
    assert tensors_digest(states[0]) == tensors_digest(states[1])


def test_the_file_says_what_it_is(trained: TrainedClassifier, packed: ImageDataset) -> None:
    facts = read_facts(trained.path)
    assert facts == trained.facts
    assert facts.classes == ("class 0", "class 1", "class 2")
    assert (facts.channels, facts.size, facts.count, facts.epochs, facts.seed) == (1, 12, 120, 20, 0)
    assert facts.fingerprint == packed.fingerprint
    extractor = Classifier.open(trained.path)
    assert extractor.weights_digest == f"tensors:{tensors_digest(load_file(trained.path))}"
    assert "12x12 grey" in extractor.resize
    assert extractor.logits is not None
    assert extractor.logits.startswith("3 logits of a classifier with 100.00%")


def test_the_file_of_a_set_is_found_by_its_fingerprint(
    packed: ImageDataset, trained: TrainedClassifier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert classifier_file_for(packed.fingerprint) is None
    assert trained_classifiers() == []
    here = train_classifier(packed, epochs=1).path
    assert here == classifier_path(packed.fingerprint)
    assert classifier_file_for(packed.fingerprint) == here
    assert classifier_file_for("0" * 32) is None
    assert trained_classifiers() == [here]
    given = tmp_path / "given" / here.name
    given.parent.mkdir()
    given.write_bytes(trained.path.read_bytes())
    for place in (given.parent, given):
        monkeypatch.setenv("KENNEL_WEIGHTS", str(place))
        assert classifier_file_for(packed.fingerprint) == given
    monkeypatch.setenv("KENNEL_WEIGHTS", str(tmp_path))
    assert classifier_file_for(packed.fingerprint) == here


def test_pictures_of_another_size_are_brought_to_the_native_one_by_half_pixel_bilinear(
    trained: TrainedClassifier,
) -> None:
    large = torch.randint(0, 256, (2, 1, 30, 18), dtype=torch.uint8)
    network = ClassifierNetwork(1, 12, 3).eval()
    network.load_state_dict(load_file(trained.path))
    with torch.inference_mode():
        expected, logits = network((half_pixel_bilinear(large, 12) - 127.5) / 127.5)
    found = judged(trained, large)
    torch.testing.assert_close(found.features, expected, rtol=1e-4, atol=1e-4)
    assert found.logits is not None
    torch.testing.assert_close(found.logits, logits, rtol=1e-4, atol=1e-4)


def test_colour_becomes_its_luma_and_three_equal_channels_exactly_that_one(
    trained: TrainedClassifier,
) -> None:
    colours = torch.tensor([[255.0, 0, 0], [0, 255, 0], [0, 0, 255], [77, 77, 77]])[..., None, None]
    luma = as_channels(colours, 1).flatten()
    torch.testing.assert_close(luma, torch.tensor([0.299 * 255, 0.587 * 255, 0.114 * 255, 77.0]))
    grey = torch.randint(0, 256, (4, 1, 12, 12), dtype=torch.uint8)
    assert torch.equal(judged(trained, grey).features, judged(trained, grey.repeat(1, 3, 1, 1)).features)


def test_a_colour_set_takes_grey_pictures_too(make_packed_set, tmp_path: Path) -> None:
    labels = np.arange(40, dtype=np.int64) % 2
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 8, 8))
    trained = train_classifier(ImageDataset(make_packed_set(tmp_path / "set", images, labels, 2)), epochs=1)
    grey = torch.randint(0, 256, (4, 1, 8, 8), dtype=torch.uint8)
    assert torch.equal(judged(trained, grey).features, judged(trained, grey.repeat(1, 3, 1, 1)).features)
    assert "8x8 colour" in Classifier.open(trained.path).resize


@pytest.mark.parametrize(("size", "side"), [(8, 4), (16, 8), (28, 7), (33, 5), (64, 8)])
def test_every_size_ends_in_maps_of_at_most_eight_pixels(size: int, side: int) -> None:
    network = ClassifierNetwork(3, size, 5).eval()
    maps = network.maps(torch.zeros(1, 3, size, size))
    assert maps.shape[-2:] == (side, side)
    features, logits = network(torch.zeros(2, 3, size, size))
    assert features.shape == (2, 128)
    assert logits.shape == (2, 5)


def test_the_rate_rises_then_falls_to_zero() -> None:
    assert learning_rate(0.0) == pytest.approx(3e-3 * 0.005)
    assert learning_rate(0.1) == pytest.approx(1.5e-3)
    assert learning_rate(0.2) == pytest.approx(3e-3)
    assert learning_rate(0.6) == pytest.approx(1.5e-3)
    assert learning_rate(1.0) == pytest.approx(0)


def test_small_sets_are_seen_more_often() -> None:
    assert [default_epochs(count) for count in (1_000_000, 54_000, 20_000, 1_600, 10)] == [3, 3, 8, 60, 60]


def test_progress_ends_at_its_total(packed: ImageDataset, tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []
    train_classifier(
        packed, tmp_path / "one", epochs=3, on_progress=lambda done, total: reports.append((done, total))
    )
    assert reports == [(108, 324), (216, 324), (324, 324)]


def test_sets_without_classes_to_tell_apart_are_refused_in_one_sentence(
    make_packed_set, tmp_path: Path
) -> None:
    images = np.zeros((6, 1, 8, 8), dtype=np.int64)
    some = np.array([0, 1, 0, 1, 0, 1])
    cases = {
        "has no classes": (images, None, 0),
        "one class only": (images, np.zeros(6, dtype=np.int64), 2),
        "one image in each class": (images, np.arange(6), 6),
        "prepare it with --size 64": (np.zeros((6, 1, 72, 72), dtype=np.int64), some, 2),
        "has images of 9x8": (np.zeros((6, 1, 8, 9), dtype=np.int64), some, 2),
    }
    for number, (words, (pixels, labels, classes)) in enumerate(cases.items()):
        packed = ImageDataset(make_packed_set(tmp_path / str(number), pixels, labels, classes))
        with pytest.raises(DataError, match=words) as caught:
            train_classifier(packed)
        assert "\n" not in str(caught.value)
    assert trained_classifiers() == []


def test_files_that_are_no_classifier_are_refused(trained: TrainedClassifier, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="kennel extractor train DATA"):
        Classifier.open()
    with pytest.raises(WeightsError, match="there is no classifier file"):
        Classifier.open(tmp_path / "absent")
    other = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(1)}, other)
    with pytest.raises(WeightsError, match="was not written by"):
        Classifier.open(other)
    other.write_bytes(trained.path.read_bytes()[:200])
    with pytest.raises(WeightsError, match="not a valid safetensors file"):
        Classifier.open(other)
    content = bytearray(trained.path.read_bytes())
    content[-1] ^= 1
    other.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        Classifier.open(other)


def test_a_file_of_another_format_or_other_tensors_is_refused(
    trained: TrainedClassifier, tmp_path: Path
) -> None:
    state = load_file(trained.path)
    with safe_open(trained.path, "pt") as file:
        metadata = dict(file.metadata())
    about = json.loads(metadata["kennel_classifier"])
    other = tmp_path / "other.safetensors"
    save_file(state, other, {**metadata, "kennel_classifier": json.dumps({**about, "format": 2})})
    with pytest.raises(WeightsError, match="format of another version"):
        Classifier.open(other)
    save_file(state, other, {**metadata, "kennel_classifier": json.dumps({**about, "size": 40})})
    with pytest.raises(WeightsError, match="do not fit the network that their file describes"):
        Classifier.open(other)


def test_bfloat16_stays_near_float32(trained: TrainedClassifier, packed: ImageDataset) -> None:
    exact = judged(trained, all_pixels(packed)).features
    fast = Classifier.open(trained.path, precision="bfloat16").extract(all_pixels(packed)).features
    assert fast.dtype == torch.float32
    assert float((fast - exact).norm() / exact.norm()) < 0.05


def test_accuracies_are_those_of_each_class_on_the_test_images() -> None:
    generator = np.random.default_rng(7)
    labels = np.arange(300, dtype=np.int64) % 3
    images = generator.integers(0, 30, (300, 1, 8, 8)).astype(np.uint8)
    images[labels == 1] += 100  # classes 0 and 2 are alike
    found = class_accuracies(images, labels, images, labels, 3, total_images=3000)
    assert found[1] == 1.0
    assert 0.3 < found[0] + found[2] < 1.9
    swapped = np.array([1, 0, 2])[labels]
    assert class_accuracies(images, labels, images, swapped, 3, total_images=3000)[0] == 0.0


def test_accuracies_are_equal_for_equal_seeds_and_need_every_class(packed: ImageDataset) -> None:
    assert packed.labels is not None
    images, labels = np.array(packed.images), np.array(packed.labels)
    first, again = (
        class_accuracies(images, labels, images, labels, 3, total_images=200, seed=1) for _ in "ab"
    )
    assert first.tolist() == again.tolist()
    with pytest.raises(DataError, match="class 2 has no test images"):
        class_accuracies(images, labels, images[labels < 2], labels[labels < 2], 3, total_images=200)
    with pytest.raises(DataError, match="needs squares of 8 to 64"):
        class_accuracies(images[..., :4, :4], labels, images, labels, 3, total_images=200)
