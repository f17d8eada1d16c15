"""A quantised network compiled by TVM, its convolutions for an accelerator: python run.py LIB.so

Then `python call.py LIB.so` runs it in a fresh process.
"""

import sys
from pathlib import Path

import onnx
import tvm
from tvm.relax.frontend.onnx import from_onnx

import dnncc.tvm
from dnncc.runtime import load

RESNET8 = Path(__file__).parents[1] / "resnet8"

module = from_onnx(onnx.load(RESNET8 / "model.onnx"), keep_params_in_input=False)
executable = tvm.compile(module, "llvm", relax_pipeline=dnncc.tvm.pipeline(target="tpu-like"))
executable.export_library(sys.argv[1])

for binary in dnncc.tvm.binaries(dnncc.tvm.partition(module, target="tpu-like")):
    print(f"a part of {load(binary).profile.cycles:,} cycles on tpu-like")
