"""`python -m tiny_imagenet.export`: one file that classifies without this project, checked before it is kept."""
