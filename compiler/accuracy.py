"""--accuracy: how far the simulated accelerator is from the float model, on the user's samples.

This is where the compiler meets the runtime: the binary is run by the simulator.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from msgspec import Struct
from onnx import ModelProto
from onnx.reference import ReferenceEvaluator

from .diagnostics import Remarks
from .driver import Artifact
from .frontend.calibration import Source, inputs_of, read_samples
from .frontend.importer import static_model
from .frontend.quality import session, signal_to_noise
from .ir.graph import Array

Values = dict[str, Array]


class Accuracy(Struct, frozen=True):
    """Of one output: `agreement` is the part of the samples with the same greatest element."""

    output: str
    samples: int
    snr_db: float
    agreement: float | None

    def __str__(self) -> str:
        ratio = f"accuracy of '{self.output}': signal to noise {self.snr_db:.1f} dB"
        if self.agreement is None:
            return f"{ratio} over {self.samples} samples"
        return (
            f"{ratio}, top-1 as the float model in {self.agreement:.1%} of {self.samples} samples"
        )


class Trial(Struct, frozen=True):
    """The float model, and samples of its inputs."""

    model: ModelProto
    samples: Sequence[Values]

    @classmethod
    def of(
        cls,
        model: str | Path | ModelProto,
        source: Source,
        shapes: Mapping[str, tuple[int, ...]] | None = None,
    ) -> Trial:
        """With all samples in `source`. Raises CompileError, OSError."""
        whole = static_model(model, shapes, Remarks())
        return cls(whole, read_samples(source, inputs_of(whole)))

    def measure(self, artifact: Artifact) -> list[Accuracy]:
        """Per output, over all samples."""
        from dnncc.runtime import load

        simulated, names = load(artifact.image), [v.name for v in self.model.graph.output]
        expected = reference(self.model, self.samples)
        runs = (simulated.run(names, feeds) for feeds in self.samples)
        got = [dict(zip(names, values, strict=True)) for values in runs]
        return [compared(n, [v[n] for v in expected], [v[n] for v in got]) for n in names]


def reference(model: ModelProto, samples: Sequence[Values]) -> list[Values]:
    """The float model's outputs, by onnxruntime, or by onnx.reference where that is not there."""
    names = [v.name for v in model.graph.output]
    try:
        run = session(model).run
    except Exception:  # not installed, or an operator that it has not
        run = ReferenceEvaluator(model).run
    return [dict(zip(names, run(names, feeds), strict=True)) for feeds in samples]


def compared(name: str, expected: Sequence[Array], got: Sequence[Array]) -> Accuracy:
    pairs = list(zip(expected, got, strict=True))
    ratio = signal_to_noise(np.stack(expected), np.stack(got))
    classes = expected[0].size > 1 and expected[0].size == max(expected[0].shape, default=1)
    same = [int(a.argmax()) == int(b.argmax()) for a, b in pairs]
    return Accuracy(name, len(pairs), ratio, float(np.mean(same)) if classes else None)
