"""Print the classes that ResNet-8 sees in its input: python show.py OUTPUTS.npz"""

import sys
from pathlib import Path

import numpy as np

CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
LEVELS = 256
"""The model's int8 output q stands for the probability (q + 128) / 256."""


def main(path: str) -> None:
    (scores,) = np.load(path).values()
    (expected,) = np.load(Path(__file__).parent / "expected.npz").values()
    shares = (scores[0].astype(int) + LEVELS // 2) / LEVELS
    best = np.argsort(-shares, kind="stable")[:3]
    print()
    print("classes     ", ", ".join(f"{CLASSES[i]} {shares[i]:.1%}" for i in best))
    same = np.array_equal(scores, expected)
    print("onnxruntime ", "the same values" if same else "OTHER VALUES")
    sys.exit(0 if same else 1)


if __name__ == "__main__":
    main(sys.argv[1])
