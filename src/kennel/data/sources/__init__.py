"""Where images come from: folders, archives, arrays, published sets, and the decoding of single files."""
