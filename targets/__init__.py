"""What an accelerator has, and what its array costs and counts."""

from . import coding, cost, dataflow
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
    "coding",
    "cost",
    "dataflow",
    "diff",
    "load",
    "loads",
    "names",
]
