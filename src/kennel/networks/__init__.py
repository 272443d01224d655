"""Generators and discriminators by name; importing this package registers them all."""

from kennel.networks import dcgan, mlp
from kennel.networks.contract import DISCRIMINATORS, GENERATORS, Discriminator, Generator, Setting

__all__ = ["DISCRIMINATORS", "GENERATORS", "Discriminator", "Generator", "Setting", "dcgan", "mlp"]
