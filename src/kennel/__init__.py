"""kennel trains GANs: it prepares images, trains, samples, evaluates, and reports.

    import kennel

    data = kennel.prepare("photos/", size=64)             # cleaned and packed, kept in the cache
    run = kennel.train("dcgan", data, images="500k")      # in runs/dcgan-photos; called again, it continues
    run.sample(16, seed=0).show()                         # a grid; a notebook displays it
    print(run.judge(metrics=["fid", "recall"]))           # scores as a table
    generator = kennel.load("runs/dcgan-photos").generator  # an nn.Module: latents, labels to images

Main functions: `prepare`, `train`, `tune`, `load`, `judge`, `compare`, `report`, `plan`, `expand`. Recipes:
`get_recipe`, `load_recipe`, `Recipe`. Your own parts: `register_network`, `register_loss`,
`register_technique`, `register_recipe`, `register_metric`, with the base classes `Generator`,
`Discriminator`, `Loss`, `Technique`, `LossTerm`; a `Callback` acts at the iterations and ticks of a run. What
a user can mend raises `KennelError`, with one sentence that says how.

See `docs/api.md` for examples, and `kennel --help` for the same in a terminal.
"""

TYPE_CHECKING = False  # not from typing, whose import takes longer than all else here
if TYPE_CHECKING:
    from kennel.api import (
        Callback,
        Comparison,
        Dataset,
        Discriminator,
        Generator,
        Loss,
        LossTerm,
        Run,
        Score,
        Technique,
        TrainedGenerator,
        TrainState,
        Tuning,
        compare,
        expand,
        judge,
        load,
        plan,
        prepare,
        register_loss,
        register_metric,
        register_network,
        register_recipe,
        register_technique,
        report,
        train,
        tune,
    )
    from kennel.config.recipe import Recipe
    from kennel.errors import KennelError
    from kennel.recipes import get_recipe, load_recipe

__version__ = "0.1.0"

__all__ = [
    "Callback",
    "Comparison",
    "Dataset",
    "Discriminator",
    "Generator",
    "KennelError",
    "Loss",
    "LossTerm",
    "Recipe",
    "Run",
    "Score",
    "Technique",
    "TrainState",
    "TrainedGenerator",
    "Tuning",
    "__version__",
    "compare",
    "expand",
    "get_recipe",
    "judge",
    "load",
    "load_recipe",
    "plan",
    "prepare",
    "register_loss",
    "register_metric",
    "register_network",
    "register_recipe",
    "register_technique",
    "report",
    "train",
    "tune",
]

_ELSEWHERE = {
    "KennelError": "kennel.errors",
    "Recipe": "kennel.config.recipe",
    "get_recipe": "kennel.recipes",
    "load_recipe": "kennel.recipes",
}
"""Names that do not import PyTorch; all others come from `kennel.api`."""


if not TYPE_CHECKING:  # a type checker takes the names from above

    def __getattr__(name: str) -> object:
        """Imports a public name at its first use, because PyTorch takes seconds."""
        if name not in __all__:
            raise AttributeError(f"module 'kennel' has no attribute '{name}'")
        from importlib import import_module

        value: object = getattr(import_module(_ELSEWHERE.get(name, "kennel.api")), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:

    return sorted({*globals(), *__all__})
