"""Collections of images: reading, cleaning, packing, describing, and the endless stream of batches."""
