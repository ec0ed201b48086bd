"""The choices that the hardware makes, in one place, each by what measured best on it."""

import torch

from tiny_imagenet.errors import UserError


def set_up(accelerator: str, precision: str | int | None, single_pixels: bool) -> str | int:
    """Prepare torch for the device that a run will use, and return the precision to train with.

    On one core of an AMD EPYC with AVX-512 BF16 (torch 2.15, 2026-11-21) a training step was 1.3 (ResNet-18 of a
    quarter of the width, batch 16) to 2.1 times (ResNet-50, batch 64) as fast in bf16-mixed as in 32-true.

    Args:
        accelerator: as the Trainer takes it: auto, cpu, gpu, cuda, ...
        precision: what the user asked for; None leaves it to the hardware: bf16-mixed on a GPU or a CPU that computes
            in it, 16-mixed on an older GPU, 32-true elsewhere.
        single_pixels: whether the network convolves maps of a single pixel with stride 2. On CPUs, torch (2.11 to
            2.15) leaves the weight gradients of such convolutions uninitialised in bf16.

    Raises:
        UserError: the user asked for bf16 where its gradients would be wrong.
    """
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if on_gpu:
        torch.backends.cudnn.benchmark = True  # image sizes are few and return at every step
        torch.set_float32_matmul_precision("high")
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())
    if on_cpu and single_pixels:
        if str(precision).startswith("bf16"):
            raise UserError(
                f"precision {precision}: on a CPU, bf16 gives wrong gradients where images have shrunk to one pixel "
                "before the last stage. Choose --trainer.precision 32-true, larger images, or --model.stem small."
            )
        return precision or "32-true"
    if precision is not None:
        return precision
    if on_gpu:
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    return "bf16-mixed" if on_cpu and _cpu_computes_in_bf16() else "32-true"


def _cpu_computes_in_bf16() -> bool:
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
