"""What the options of `kennel study` change in any kind of study."""

from typing import Any


def with_budget(study: Any, seeds: int | None, images: str | None, hours: float | None) -> dict[str, Any]:
    """The study's content with the given seeds and budget. Raises `RecipeError` for two budgets."""
    from kennel.errors import RecipeError

    if images is not None and hours is not None:
        raise RecipeError("--images and --hours are ways to say how long: give one of them")
    content: dict[str, Any] = study.model_dump(mode="json")
    if seeds is not None:
        content["seeds"] = seeds
    if images is not None or hours is not None:
        content["images"], content["hours"] = images, hours
    return content
