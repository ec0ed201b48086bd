"""Options of trainings that differ in the state that resuming must restore."""

import json

from tests.helpers.options import callback

SAVE_OFTEN = ["--checkpoint.every_n_steps=1"]

ADAM = ["--model.optimizer=torch.optim.Adam", "--model.optimizer.lr=0.003"]
LOOKAHEAD = [
    "--model.optimizer=" + json.dumps({
        "class_path": "tiny_imagenet.optim.Lookahead",
        "init_args": {
            "optimizer": {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.05, "momentum": 0.9}},
            "k": 3,
        },
    })
]  # fmt: skip
BY_EPOCH = [
    "--model.scheduler=torch.optim.lr_scheduler.StepLR",
    "--model.scheduler.step_size=1",
    "--model.scheduler_interval=epoch",
]
ONE_CYCLE = ["--model.scheduler=torch.optim.lr_scheduler.OneCycleLR", "--model.scheduler.max_lr=0.1"]
# No epoch but the first counts as an improvement. With max_steps, Lightning treats a checkpoint at an epoch's end
# differently.
PLATEAU = [
    "--model.scheduler=lightning.pytorch.cli.ReduceLROnPlateau",
    "--model.scheduler.monitor=val/loss",
    "--model.scheduler.patience=0",
    "--model.scheduler.threshold=1e9",
    "--model.scheduler_interval=epoch",
    "--trainer.max_steps=1000",
]
EMA = callback("EMA", decay=0.9)
UNFREEZE = ["--model.freeze=[conv1,bn1,layer1]", '--model.unfreeze_at={"bn1": 1, "layer1": 1}']
MIX = ["--data.mix.cutmix=1.0", "--data.mix.mixup=0.4", "--data.mix.epochs_without=1"]
PROGRESSIVE = ['--data.progressive={"16": 0, "32": 0.5}']
AUGMENT = ["--data.augment+=RandomHorizontalFlip", "--data.augment+=RandomCrop", "--data.augment.padding=4"]

RECIPES = {
    "sgd-step": AUGMENT,
    "sgd-epoch-mix-balanced-loss": [*BY_EPOCH, *MIX, "--data.balance=loss"],
    "adam-ema-progressive": [*ADAM, *EMA, *AUGMENT, *PROGRESSIVE],
    "lookahead-dropout-balanced-sampling": [*LOOKAHEAD, "--model.dropout=0.5", "--data.balance=sampling"],
    "one-cycle-accumulate-workers": [
        *ONE_CYCLE,
        "--trainer.accumulate_grad_batches=3",
        "--data.num_workers=2",
        *AUGMENT,
    ],
    "plateau-max-steps": PLATEAU,
    "ema-mix-accumulate": [*EMA, *MIX, "--trainer.accumulate_grad_batches=2"],
    "adam-ema-unfreeze": [*ADAM, *EMA, *UNFREEZE],
    "lookahead-unfreeze-accumulate": [*LOOKAHEAD, *UNFREEZE, "--trainer.accumulate_grad_batches=3"],
    "muon-one-cycle": ["--model.optimizer=MuonSGD", "--model.optimizer.sgd_lr_ratio=3", *ONE_CYCLE, *AUGMENT],
}
