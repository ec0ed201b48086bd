"""Train, validate, test and predict: python training.py fit --config resnet50_aug.yaml"""

from tiny_imagenet.cli import main

if __name__ == "__main__":
    main()
