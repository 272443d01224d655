import pytest

from kennel.features import factory
from kennel.features.base import EXTRACTORS
from kennel.features.efficientnet_lite import EfficientNetLite0, EfficientNetLite1
from kennel.features.factory import choose_extractor
from kennel.features.hub import Clip
from kennel.features.inception import Inception
from kennel.features.mobilenet import MobileNet
from kennel.features.related_extractors import ARCHITECTURES, relation, unfair


def test_only_registered_extractors_are_in_the_table() -> None:
    assert set(ARCHITECTURES) <= set(EXTRACTORS)


@pytest.mark.parametrize(
    ("judge", "teacher", "expected", "words"),
    [
        (
            "efficientnet_lite1",
            "efficientnet_lite1",
            "itself",
            "efficientnet_lite1 was used in this generator's training, so its",
        ),
        ("efficientnet_lite0", "efficientnet_lite1", "sibling", "efficientnet_lite0 is its sibling"),
        ("mobilenet", "efficientnet_lite0", "sibling", "scores by mobilenet are too good as well"),
        ("inception", "efficientnet_lite1", "same data", "inception was also trained on ImageNet"),
        ("clip", "efficientnet_lite1", "none", None),
        ("pixels", "efficientnet_lite1", "none", None),
        ("classifier", "mobilenet", "none", None),
        ("mobilenet", None, "none", None),
        ("a stranger", "a stranger", "itself", "a stranger was used in this generator's training"),
    ],
)
def test_a_teacher_and_its_kin_are_no_fair_judges(
    judge: str, teacher: str | None, expected: str, words: str | None
) -> None:
    assert relation(judge, teacher) == expected
    sentence = unfair(judge, teacher)
    if words is None:
        assert sentence is None
    else:
        assert sentence is not None
        assert words in sentence
        assert "2203.06026" in sentence


def test_auto_is_never_the_teacher_and_its_sibling_only_where_no_other_is_at_hand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kinds = [Inception, Clip, MobileNet, EfficientNetLite0, EfficientNetLite1]
    for kind in kinds:
        monkeypatch.setattr(kind, "is_available", classmethod(lambda cls: True))

    def among(*some: type) -> str:
        monkeypatch.setattr(factory, "PREFERENCE", some)
        return choose_extractor(teacher="mobilenet")

    assert among(*kinds) == "clip"
    assert among(Inception, MobileNet, EfficientNetLite0) == "inception"
    assert among(MobileNet, EfficientNetLite0, EfficientNetLite1) == "efficientnet_lite0"
    assert among(MobileNet) == "pixels"
    monkeypatch.setattr(factory, "PREFERENCE", tuple(kinds))
    assert choose_extractor() == "inception"
