"""Training ResNets on small images: Tiny ImageNet, CIFAR-10 and any folder of class folders."""
