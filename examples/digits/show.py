"""How well float, int8 and accelerator tell digits apart: python show.py FOLDER

FOLDER has what train.py wrote, int8.onnx (`dnncc --emit onnx`) and scores.npz (`dnncc-run`).
"""

import sys
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnxruntime.capi.onnxruntime_inference_collection import InferenceSession

Array = npt.NDArray[np.float32]


def scores(model: Path, images: Array) -> Array:
    """What onnxruntime computes, one image at a time: (N, 10)."""
    session = InferenceSession(model)
    return np.concatenate([session.run(None, {"image": image[None]})[0] for image in images])


def main(folder: Path) -> bool:
    """Print the accuracies; whether the accelerator's scores are those of the int8 model."""
    (images,), labels = np.load(folder / "test.npz").values(), np.load(folder / "labels.npy")
    (simulated,) = np.load(folder / "scores.npz").values()
    labels, images = labels[: len(simulated)], images[: len(simulated)]
    found = {
        "float, onnxruntime": scores(folder / "model.onnx", images),
        "int8, onnxruntime": scores(folder / "int8.onnx", images),
        "int8, accelerator": simulated,
    }
    for name, values in found.items():
        right = np.count_nonzero(values.argmax(1) == labels)
        print(f"{name:20} {right} of {len(labels)} right, {right / len(labels):.1%}")
    same = np.array_equal(found["int8, onnxruntime"], simulated)
    print("int8 scores         ", "equal in every element" if same else "DIFFER")
    return same


if __name__ == "__main__":
    sys.exit(0 if main(Path(sys.argv[1])) else 1)
