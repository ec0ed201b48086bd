"""python -m tiny_imagenet: the same as training.py."""

from tiny_imagenet.cli import main

if __name__ == "__main__":
    main()
