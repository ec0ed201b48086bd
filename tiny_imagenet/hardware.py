"""What depends on the hardware for a whole run: precision, cuDNN and malloc, each set to what measured best."""

import ctypes

import torch

from tiny_imagenet.errors import UserError

# Options of mallopt, from glibc's malloc.h: how many bytes may stay free at the end of the heap, how many more than
# needed it grows by, and from which size an allocation gets its own mapping.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


def set_up(accelerator: str, precision: str | int | None, single_pixels: bool) -> str | int:
    """Prepare torch for the device of a run, and return the precision to train in.

    On one core of an AMD EPYC with AVX-512 BF16 (torch 2.15, 2026-11-21) a training step in bf16-mixed was 1.3
    (ResNet-18 at a quarter of its width, batch 16) to 2.1 times (ResNet-50, batch 64) as fast as in 32-true. On an
    Intel Xeon with AVX-512 BF16, but without AMX (2026-11-29), it was mostly 0.7 to 0.9 times as fast (ResNets of 0.5
    to 11 million parameters), and a product of matrices 0.56 times. The other choices were measured on two cores, see
    results/benchmark: images that are not channels-last are slower, and so is torch.compile (`model.compile`); fused
    optimizers made no difference (0.96 to 1.05 times as fast in three runs). The packed set stays in the CPU's memory:
    reading it is the fastest step there. No GPU was measured yet.

    Args:
        accelerator: the Trainer's option: auto, cpu, gpu, cuda, ...
        precision: what the user asked for; None chooses by the hardware: bf16-mixed on a GPU or CPU with fast bf16
            instructions, 16-mixed on an older GPU, 32-true elsewhere.
        single_pixels: whether the network applies a convolution of stride 2 to feature maps of one pixel. On CPUs,
            torch (2.11 to 2.15) leaves the weight gradients of such a convolution uninitialised in bf16.

    Raises:
        UserError: the user asked for bf16 where its gradients would be wrong.
    """
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    if on_gpu:
        torch.backends.cudnn.benchmark = True  # there are few image sizes, and each is used for many steps
        torch.set_float32_matmul_precision("high")
    on_cpu = accelerator == "cpu" or (accelerator == "auto" and not torch.accelerator.is_available())
    if on_cpu:
        keep_freed_memory()
    if on_cpu and single_pixels:
        if str(precision).startswith("bf16"):
            raise UserError(
                f"precision {precision}: on a CPU, bf16 gives wrong gradients if images shrink to one pixel before "
                "the last stage. Use --trainer.precision 32-true, larger images, or --model.stem small."
            )
        return precision or "32-true"
    if precision is not None:
        return precision
    if on_gpu:
        return "bf16-mixed" if computes_in_bf16("cuda") else "16-mixed"
    return "bf16-mixed" if on_cpu and computes_in_bf16("cpu") else "32-true"


def computes_in_bf16(device_type: str) -> bool:
    """Whether devices of this type (cpu, cuda, …) have instructions for bf16 that are faster than those for float32."""
    if device_type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.cpu.get_capabilities() if device_type == "cpu" else {}
    # On Intel's, AVX-512's are slower than float32. Virtual machines often have these, but not AMX's.
    intel = str(capabilities.get("cpu_name", "")).startswith("Intel")
    return bool(capabilities.get("amx_bf16") or (capabilities.get("avx512_bf16") and not intel))


def keep_freed_memory() -> None:
    """Let malloc reuse the memory of large tensors, instead of returning it to the system at once.

    The system would clear each page again. On two cores of an AMD EPYC this made crop and flip 1.5 to 5 times as fast,
    and a training step of ResNet-18 at 64×64 1.1 to 1.4 times (torch 2.15, glibc, 2026-11-21). Does nothing without
    glibc.
    """
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return
    for parameter, size in ((M_MMAP_THRESHOLD, 1 << 30), (M_TRIM_THRESHOLD, (1 << 31) - 1), (M_TOP_PAD, 64 << 20)):
        mallopt(parameter, size)
