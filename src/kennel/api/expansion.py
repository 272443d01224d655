"""`kennel.expand`: fills up the classes of a set with generated images."""

from pathlib import Path

import torch

from kennel.api.functions import Settings, listener_of, prepare, recipe_settings, train_request
from kennel.api.images import Data, PathLike, device_of
from kennel.api.run import TrainedGenerator
from kennel.data.dataset import ImageDataset
from kennel.data.prepare.cached import source_name
from kennel.distributed.devices import training_device
from kennel.errors import RunError
from kennel.evaluation.copy_guard import QUANTILE, guard_extractor
from kennel.expansion.draw import MAX_REJECTED
from kennel.expansion.expand import GuardOptions
from kennel.expansion.expand import expand as fill_up
from kennel.expansion.gaps import check_destination, check_generator, few_note, missing_images
from kennel.expansion.request import generator_request
from kennel.sampling.resolve import load_generator


def expand(
    data: Data,
    to: int,
    *,
    run: PathLike | TrainedGenerator | None = None,
    out: PathLike | None = None,
    recipe: str = "auto",
    images: int | str | None = None,
    epochs: float | None = None,
    hours: float | None = None,
    settings: Settings = (),
    seed: int = 0,
    checkpoint: str = "newest",
    truncation: float | None = None,
    extractor: str = "auto",
    quantile: float = QUANTILE,
    max_rejected: float = MAX_REJECTED,
    overwrite: bool = False,
    device: str | torch.device = "auto",
    quiet: bool = False,
) -> ImageDataset:
    """Fills up every class with fewer than `to` images by generated ones; returns the new packed set.

    `data`: see `prepare`. `run` is a class-conditional run of this set, an exported file or a fetched name;
    without it one is trained first, in `runs/expand-SET`, with `recipe`, `settings` and a budget as in
    `train`. `out` is the set's folder, by default `SET-toN`. Real images are unchanged; the set's `generated`
    marks the others. Images that are as near to a training image as `quantile` of the real ones are to one
    another, by `extractor`, are rejected; a class with more than `max_rejected` of them raises `RunError`. If
    every class has `to` images, the set itself is returned. Raises `KennelError`.
    """
    dataset = prepare(data)
    gaps = missing_images(dataset, to)
    if not gaps:
        return dataset
    destination = Path(f"{source_name(dataset.path)}-to{to}") if out is None else Path(out)
    check_destination(destination, dataset, overwrite)

    def note(text: str) -> None:
        if text and not quiet:
            print(f"Note: {text}", flush=True)

    note(few_note(gaps))
    place = device_of(device)
    if run is None:
        request = generator_request(
            dataset.path,
            recipe,
            settings=recipe_settings(settings),
            images=images,
            epochs=epochs,
            hours=hours,
            device=training_device(place),
        )
        run = train_request(request, listener_of(quiet))
        if not run.finished:
            raise RunError(f"the training in {run.path} was stopped: the same call continues it")
    path = run.path if isinstance(run, TrainedGenerator) else Path(run)
    loaded = load_generator(path, checkpoint, place)
    check_generator(loaded, dataset, note)
    network = guard_extractor(extractor, dataset.shape[2], loaded.teacher, place)
    guard = GuardOptions(network, quantile, max_rejected)
    return fill_up(dataset, gaps, loaded, destination, guard, seed=seed, truncation=truncation).dataset
