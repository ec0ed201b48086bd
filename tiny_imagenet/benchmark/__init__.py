"""`python -m tiny_imagenet.benchmark`: the speed of every stage on this machine, next to common alternatives."""

from tiny_imagenet.threads import wait_passively

wait_passively()  # as `fit` does, before torch is loaded
