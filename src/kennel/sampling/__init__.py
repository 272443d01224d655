"""From a trained generator to images: loading, sampling, and exporting it."""
