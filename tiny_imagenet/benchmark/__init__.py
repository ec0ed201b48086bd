"""`python -m tiny_imagenet.benchmark`: the speed of every stage on this machine, beside what people use instead."""
