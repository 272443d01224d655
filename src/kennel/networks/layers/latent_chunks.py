"""A latent split into chunks for different layers (Brock et al. 2019)."""

from kennel.errors import RecipeError
from kennel.networks.base import NetworkSpec


def chunk_width(spec: NetworkSpec, slots: int, name: str) -> int:
    """The width of each of `slots` equal chunks. Raises `RecipeError` if the latent is not divisible.

    `name` is the network's name in the message.
    """
    if spec.latent_dim % slots or spec.latent_dim < slots:
        below = spec.latent_dim // slots * slots
        fitting = f"{below} or {below + slots}" if below else str(slots)
        raise RecipeError(
            f"latent_dim = {spec.latent_dim}: {name} splits the latent of {spec.size}x"
            f"{spec.size} images into {slots} equal chunks; make it {fitting}, or set "
            "generator.hierarchical=false"
        )
    return spec.latent_dim // slots
