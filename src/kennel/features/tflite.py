"""Reads MobileNetV2's weights from Google's quantized TFLite file, as float32 tensors.

A TFLite file is a FlatBuffer. The tables with the weights are read by their field numbers in the public
schema (tensorflow/lite/schema/schema.fbs), which never change, so no package is needed.
"""

import struct
from typing import Any

import numpy as np
import numpy.typing as npt

from kennel.errors import WeightsError
from kennel.features.mobilenet_network import STAGES

FloatArray = npt.NDArray[np.float32]
CONVOLUTION, DEPTHWISE = 3, 4  # BuiltinOperator
INT32, UINT8 = 2, 3  # TensorType


class _Table:
    """One FlatBuffer table; its vtable locates the fields."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position = data, position
        self.vtable = position - _number(data, "<i", position)
        self.fields = (_number(data, "<H", self.vtable) - 4) // 2

    def _at(self, field: int) -> int | None:
        """The position of the field's value; None if it has its default."""
        if field >= self.fields:
            return None
        offset = _number(self.data, "<H", self.vtable + 4 + 2 * field)
        return self.position + offset if offset else None

    def number(self, field: int, form: str) -> int:
        at = self._at(field)
        return 0 if at is None else _number(self.data, form, at)

    def table(self, field: int) -> "_Table":
        at = self._at(field)
        if at is None:
            raise ValueError("a table is missing")
        return _Table(self.data, at + _number(self.data, "<I", at))

    def array(self, field: int, kind: str) -> npt.NDArray[Any]:
        at = self._at(field)
        if at is None:
            return np.empty(0, kind)
        start = at + _number(self.data, "<I", at)
        return np.frombuffer(self.data, kind, _number(self.data, "<I", start), start + 4)

    def tables(self, field: int) -> "list[_Table]":
        at = self._at(field)
        if at is None:
            return []
        start = at + _number(self.data, "<I", at)
        places = range(start + 4, start + 4 + 4 * _number(self.data, "<I", start), 4)
        return [_Table(self.data, place + _number(self.data, "<I", place)) for place in places]


def _number(data: bytes, form: str, position: int) -> int:
    return int(struct.unpack_from(form, data, position)[0])


def _layer_names() -> list[str]:
    """The convolutions in execution order, including the classifier."""
    names = ["stem"]
    block = 0
    for _, expansion, _, repeats, _ in STAGES:
        for _ in range(repeats):
            if expansion > 1:
                names.append(f"blocks.{block}.expand")
            names += [f"blocks.{block}.depthwise", f"blocks.{block}.project"]
            block += 1
    return [*names, "head", "classifier"]


def _dequantize(tensor: _Table, buffers: list[_Table]) -> FloatArray:
    """`(code - zero_point) * scale` of one tensor, in float32."""
    kinds = {INT32: "<i4", UINT8: "u1"}
    codes = buffers[tensor.number(2, "<I")].array(0, "u1").view(kinds[tensor.number(1, "<b")])
    quantization = tensor.table(4)
    scale = quantization.array(2, "<f4")[0]
    zero_points = quantization.array(3, "<i8")
    zero_point = int(zero_points[0]) if len(zero_points) else 0
    values = (codes.astype(np.int64) - zero_point).astype(np.float64) * np.float64(scale)
    return values.astype(np.float32).reshape(tensor.array(0, "<i4"))


def mobilenet_from_tflite(data: bytes) -> dict[str, FloatArray]:
    """The state of `MobileNetGraph` from the bytes of `mobilenet_v2_1.0_224_quant.tflite`. Weights are (out,
    in, height, width). Raises `WeightsError` for another model."""
    try:
        model = _Table(data, _number(data, "<I", 0))
        graph, buffers = model.tables(2)[0], model.tables(4)
        codes = [code.number(0, "<b") for code in model.tables(1)]
        tensors = graph.tables(0)
        layers = [
            (operator.array(1, "<i4"), codes[operator.number(0, "<I")])
            for operator in graph.tables(3)
            if codes[operator.number(0, "<I")] in (CONVOLUTION, DEPTHWISE)
        ]
        state: dict[str, FloatArray] = {}
        for name, (inputs, code) in zip(_layer_names(), layers, strict=True):
            weight = _dequantize(tensors[inputs[1]], buffers)
            weight = weight.transpose((3, 0, 1, 2) if code == DEPTHWISE else (0, 3, 1, 2))
            state[f"{name}.weight"] = np.ascontiguousarray(weight)
            state[f"{name}.bias"] = _dequantize(tensors[inputs[2]], buffers)
        state["classifier.weight"] = state["classifier.weight"].reshape(len(state["classifier.bias"]), -1)
    except (struct.error, ValueError, IndexError, KeyError) as error:
        raise WeightsError(
            f"the TFLite file is not the published mobilenet_v2_1.0_224_quant.tflite ({error}): get it again"
        ) from error
    return state
