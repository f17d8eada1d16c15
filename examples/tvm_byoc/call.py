"""Load what run.py exported, and run it on a photograph of a truck: python call.py LIB.so"""

import sys
from pathlib import Path

import numpy as np
import tvm
from tvm import relax

RESNET8 = Path(__file__).parents[1] / "resnet8"

machine = relax.VirtualMachine(tvm.runtime.load_module(sys.argv[1]), tvm.cpu())
(image,) = np.load(RESNET8 / "input.npz").values()
(expected,) = np.load(RESNET8 / "expected.npz").values()
scores = machine["main"](tvm.runtime.tensor(image)).numpy()
print("the same as onnxruntime" if np.array_equal(scores, expected) else "OTHER VALUES", scores)
sys.exit(0 if np.array_equal(scores, expected) else 1)
