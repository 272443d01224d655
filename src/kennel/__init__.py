"""kennel, a toolkit for GANs: prepare images, train, sample, judge honestly, and see the comparison."""

__version__ = "0.1.0"
