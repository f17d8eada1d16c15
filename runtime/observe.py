"""Looking on while a program runs."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from .machine import Machine


class Observer(Protocol):
    """Told of every instruction that is executed; on a batch in chunks, once for each chunk."""

    def begin(self, machine: Machine) -> None:
        """Inputs are in place, nothing has been executed."""

    def before(self, index: int) -> None:
        """Instruction `index` is next."""

    def after(self, index: int) -> None:
        """It has been executed."""

    def end(self) -> None:
        """No more will be executed, or one has failed."""


def observed(
    sequence: Iterable[int],
    step: Callable[[int], None],
    machine: Machine,
    observers: Sequence[Observer],
) -> None:
    """Execute instructions with `step`, looked on by all observers; the last is the nearest."""
    for observer in observers:
        observer.begin(machine)
    try:
        for index in sequence:
            for observer in observers:
                observer.before(index)
            step(index)
            for observer in reversed(observers):
                observer.after(index)
    finally:
        for observer in observers:
            observer.end()
