"""Legal orders of execution: in program order, or any other that queues and waits allow."""

import random
from collections.abc import Callable, Iterator

import numpy as np

from dnncc.isa import control, core
from dnncc.isa import program as programs

from .errors import RunError

CONTROL = len(core.ENGINES)
RUN_AHEAD = 8
"""How many instructions, on average, an order favours the same engines: races need run-ahead."""


class ScheduleError(RunError):
    """A schedule that does not exist, or a program with none; the text is one line."""


def order(
    program: programs.Program, schedule: str, describe: Callable[[int], str] = str
) -> Iterator[int]:
    """Indices of all instructions in the order asked for: "serial" or "random:SEED".

    Raises ScheduleError for any other text, and when no instruction can go on, which `describe`
    names then.
    """
    if schedule == "serial":
        return iter(range(program.count))
    kind, _, seed = schedule.partition(":")
    if kind != "random" or not seed.isdecimal():
        raise ScheduleError(f"no schedule {schedule!r}: use serial or random:SEED")
    return random_order(program, random.Random(int(seed)), describe)


def random_order(
    program: programs.Program, rng: random.Random, describe: Callable[[int], str] = str
) -> Iterator[int]:
    """An order in which an engine may run as far ahead of the others as waits and fences let it."""
    queues = Queues(program, describe)
    favoured = [*range(len(core.ENGINES)), CONTROL]
    for _ in range(program.count):
        if rng.randrange(RUN_AHEAD) == 0:
            rng.shuffle(favoured)
        yield queues.retire(favoured)


class Queues:
    """What is issued, and how many instructions of each engine are retired."""

    def __init__(self, program: programs.Program, describe: Callable[[int], str] = str) -> None:
        engines = np.asarray(program.engine_of)
        self.describe = describe
        self.waits: list[list[int]] = program.waits.tolist()
        self.indices: list[list[int]] = [
            np.flatnonzero(engines == e).tolist() for e in range(len(core.ENGINES))
        ]
        self.indices.append([*np.flatnonzero(engines < 0).tolist(), program.count])
        self.retired = [0] * len(self.indices)
        for halt in np.flatnonzero(np.asarray(program.opcodes) == control.Halt.opcode):
            self.waits[halt] = np.bincount(engines[:halt] + 1, minlength=CONTROL + 1)[1:].tolist()

    def retire(self, favoured: list[int]) -> int:
        """Retire an instruction of the first engine in the list that has one that can go on.

        Nothing after the next control instruction is issued before that has completed.
        """
        limit = self.indices[CONTROL][self.retired[CONTROL]]
        for engine in favoured:
            queue, at = self.indices[engine], self.retired[engine]
            if at == len(queue) or queue[at] > limit or not self.satisfied(queue[at]):
                continue
            self.retired[engine] += 1
            return queue[at]
        raise ScheduleError(f"no instruction can go on: {'; '.join(self.blocked(limit))}")

    def blocked(self, limit: int) -> Iterator[str]:
        """What each engine with work left waits for, of which `limit` bounds what is issued."""
        for engine, (queue, at) in enumerate(zip(self.indices, self.retired, strict=True)):
            if at == len(queue) or queue[at] >= len(self.waits):
                continue
            name = (*core.ENGINES, "the issue unit")[engine]
            if queue[at] > limit:
                yield f"{name} is not given {self.describe(queue[at])}"
                continue
            missing = [
                f"{want} of {core.ENGINES[e]}, of which {self.retired[e]} retired"
                for e, want in enumerate(self.waits[queue[at]])
                if want > self.retired[e]
            ]
            yield f"{name} at {self.describe(queue[at])} waits for {' and '.join(missing)}"

    def satisfied(self, index: int) -> bool:
        """Whether its waits are; the end of the program, a control instruction, never is."""
        if index == len(self.waits):
            return False
        return all(r >= w for r, w in zip(self.retired, self.waits[index], strict=False))
