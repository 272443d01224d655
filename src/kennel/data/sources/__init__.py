"""Sources of images: folders, archives, arrays, published sets; and the decoding of single files."""
