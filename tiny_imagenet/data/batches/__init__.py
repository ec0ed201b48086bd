"""Which images make a batch, and their way to the network."""
