"""Writes a network as the content of a file."""

import io
import json
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from tiny_imagenet.export.packages import INPUT, OUTPUT

METADATA = "metadata.json"  # in a file of torch.export; in ONNX each fact is an entry of its own
SIZES = {0: Dim("batch", min=1), 2: Dim("height", min=1), 3: Dim("width", min=1)}


def written(network: nn.Module, format: str, opset: int, facts: Mapping[str, str]) -> bytes:
    """The content of a file for a network that takes uint8 [B, 3, H, W], of any B, H and W.

    Args:
        format: onnx or torch_export.
        opset: of ONNX.
        facts: the metadata.
    """
    with torch.no_grad():
        example = torch.zeros(2, 3, 40, 50, dtype=torch.uint8)
        if format == "torch_export":
            program = torch.export.export(network, (example,), dynamic_shapes=(SIZES,))
            return _archive(program, facts)
        program = torch.onnx.export(
            network, (example,), dynamo=True, dynamic_shapes=(SIZES,), opset_version=opset, verbose=False,
            input_names=[INPUT], output_names=[OUTPUT],
        )  # fmt: skip
    return _onnx(program.model_proto, facts)


def _onnx(model: Any, facts: Mapping[str, str]) -> bytes:
    """An onnx.ModelProto with this metadata as bytes, without torch's notes on each part, which name source files."""
    for graph in _graphs(model.graph):
        for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph):
            del part.metadata_props[:]
    del model.metadata_props[:]
    for name, fact in facts.items():
        model.metadata_props.add(key=name, value=fact)
    model.producer_name = "tiny_imagenet"
    return model.SerializeToString()


def _graphs(graph: Any) -> Iterator[Any]:
    """An onnx.GraphProto, and the branches in it."""
    yield graph
    for branch in (each.g for node in graph.node for each in node.attribute if each.HasField("g")):
        yield from _graphs(branch)


def _archive(program: ExportedProgram, facts: Mapping[str, str]) -> bytes:
    """The same of torch.export."""
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)
    content = io.BytesIO()
    torch.export.save(program, content, extra_files={METADATA: json.dumps(dict(facts))})
    return content.getvalue()
