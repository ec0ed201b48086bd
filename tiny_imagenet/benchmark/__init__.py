"""`python -m tiny_imagenet.benchmark`: the speed of every stage on this machine, next to common alternatives."""
