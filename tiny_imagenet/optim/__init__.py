"""What torch.optim lacks: groups for weight decay, schedules that know the number of steps, Lookahead and Muon."""

from tiny_imagenet.optim.groups import parameter_groups
from tiny_imagenet.optim.lookahead import Lookahead
from tiny_imagenet.optim.muon import MuonSGD
from tiny_imagenet.optim.schedules import WarmupCosine, build_scheduler

__all__ = ["Lookahead", "MuonSGD", "WarmupCosine", "build_scheduler", "parameter_groups"]
