"""The choices that the hardware makes, in one place, each by what measured best on it."""

import torch


def set_up(accelerator: str, precision: str | int | None) -> str | int:
    """Prepare torch for the device that a run will use, and return the precision to train with.

    Args:
        accelerator: as the Trainer takes it: auto, cpu, gpu, cuda, ...
        precision: what the user asked for; None leaves it to the hardware: bf16-mixed on a GPU that computes in it,
            16-mixed on an older one, 32-true elsewhere.
    """
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if on_gpu:
        torch.backends.cudnn.benchmark = True  # image sizes are few and return at every step
        torch.set_float32_matmul_precision("high")
    if precision is not None:
        return precision
    if not on_gpu:
        return "32-true"
    return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
