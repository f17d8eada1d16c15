"""Groups of named arrays in one .npz file, under names like `inner:conv1`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Arrays = Mapping[str, Any]


def save(path: str | Path, groups: Mapping[str, Arrays]) -> None:
    # A list, as tensors may have names that np.savez cannot take for files.
    named = {f"{group}:{name}": v for group, arrays in groups.items() for name, v in arrays.items()}
    values = {str(i): value for i, value in enumerate(named.values())}
    np.savez(path, names=np.array(list(named)), **values)


def group(path: str | Path, wanted: str) -> dict[str, Any]:
    with np.load(path) as arrays:
        names = [str(name).partition(":") for name in arrays["names"]]
        return {name: arrays[str(i)] for i, (kind, _, name) in enumerate(names) if kind == wanted}
