"""One training step and the loop around it: networks, losses and techniques put together and computed."""
