"""dnncc as a back end of TVM: quantised parts of a Relax module become accelerator binaries.

import dnncc.tvm
executable = tvm.compile(module, "llvm", relax_pipeline="dnncc")
executable = tvm.compile(module, "llvm", relax_pipeline=dnncc.tvm.pipeline(target="tpu-like"))

`partition` is the first step of the pipeline alone; `binaries` gives what it baked in.
"""

from .parts import binaries, partition
from .registration import pipeline, register

__all__ = ["binaries", "partition", "pipeline", "register"]

register()
