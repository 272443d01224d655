import pytest

from kennel.features import factory
from kennel.features.base import EXTRACTORS
from kennel.features.efficientnet_lite import EfficientNetLite0, EfficientNetLite1
from kennel.features.factory import choose
from kennel.features.hub import Clip
from kennel.features.inception import Inception
from kennel.features.mobilenet import MobileNet
from kennel.features.related_extractors import ARCHITECTURES, kinship, unfair


def test_only_registered_extractors_are_in_the_table() -> None:
    assert set(ARCHITECTURES) <= set(EXTRACTORS)


@pytest.mark.parametrize(
    ("judge", "teacher", "expected", "words"),
    [
        (
            "efficientnet_lite1",
            "efficientnet_lite1",
            "itself",
            "efficientnet_lite1 taught this generator: its",
        ),
        ("efficientnet_lite0", "efficientnet_lite1", "sibling", "efficientnet_lite0 is its sibling"),
        ("mobilenet", "efficientnet_lite0", "sibling", "scores by mobilenet flatter it too"),
        ("inception", "efficientnet_lite1", "same data", "inception was also trained on ImageNet"),
        ("clip", "efficientnet_lite1", "none", None),
        ("pixels", "efficientnet_lite1", "none", None),
        ("classifier", "mobilenet", "none", None),
        ("mobilenet", None, "none", None),
        ("a stranger", "a stranger", "itself", "a stranger taught this generator"),
    ],
)
def test_a_teacher_and_its_kin_are_no_fair_judges(
    judge: str, teacher: str | None, expected: str, words: str | None
) -> None:
    assert kinship(judge, teacher) == expected
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
        monkeypatch.setattr(kind, "at_hand", classmethod(lambda cls: True))

    def among(*some: type) -> str:
        monkeypatch.setattr(factory, "PREFERENCE", some)
        return choose(teacher="mobilenet")

    assert among(*kinds) == "clip"
    assert among(Inception, MobileNet, EfficientNetLite0) == "inception"
    assert among(MobileNet, EfficientNetLite0, EfficientNetLite1) == "efficientnet_lite0"
    assert among(MobileNet) == "pixels"
    monkeypatch.setattr(factory, "PREFERENCE", tuple(kinds))
    assert choose() == "inception"
