"""`python -m tiny_imagenet.sweep FILE`: a study of many trainings, which can be stopped and resumed at any time."""
