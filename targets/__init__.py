"""What an accelerator has, and what its array costs and counts."""

from .files import TargetError, diff, load, loads, names
from .schema import KINDS, Channel, Engine, Kind, Memory, Target

__all__ = [
    "KINDS",
    "Channel",
    "Engine",
    "Kind",
    "Memory",
    "Target",
    "TargetError",
    "diff",
    "load",
    "loads",
    "names",
]
