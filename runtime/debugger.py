"""A debugger for a run in program order: commands come from a stream, so that scripts can drive it.

Before an instruction is executed it is `next`. Its cycles are those of the whole program's run, in
which engines overlap: what is executed one by one here is not what happens one by one there.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from dnncc.isa import core

from .errors import RunError
from .hazards import touched
from .session import InferenceSession
from .signature import batched
from .table import printable

HELP = """\
break N | break node NAME | break cycle C | break address MEMORY:BYTE
                     stop before instruction N; before the first instruction of each node whose name
                     holds NAME; before the first that starts in cycle C or later; before each that
                     touches the byte (memory 0 is DRAM)
delete [N]           forget breakpoint number N, or all
info                 breakpoints
step [N]             execute N instructions, or one
continue             execute until a breakpoint, or the end
where                the next instruction: assembly, node, tile step, cycles
list [N]             the next N instructions, or 5
print TENSOR         a tensor's values, of the first input of the batch
x MEMORY:BYTE TYPE [COUNT | AxBxC]
                     memory as numbers of a type: i8 u8 i16 u16 i32 f32
counters             cycles, bytes and MACs of what has been executed, per engine
queues               per engine how many instructions have been executed, and its next one
help | quit
A command may be cut short: c is continue, s is step."""

LISTED = 5
Stops = Callable[[int], bool]
"""Whether to stop before an instruction."""


class Breakpoint(NamedTuple):
    text: str
    stops: Stops


class Quit(Exception):
    """The user wants no more."""


class Debugger:
    """A run on `feeds`, as those of session.run, that stands before instruction `next`."""

    def __init__(self, session: InferenceSession, feeds: Mapping[str, Any]) -> None:
        self.session = session
        self.listing = session.listing
        self.count = session.program.count
        self.machine = session.ready(batched(session.get_inputs(), feeds)[1])
        self.next = 0
        self.breakpoints: dict[int, Breakpoint] = {}
        self.numbered = 0

    def run(self, commands: Iterable[str]) -> Iterator[str]:
        """What to print for each line of commands, until one is `quit` or they end."""
        yield from self.where([])
        for line in commands:
            words = line.split("#")[0].split()
            try:
                yield from (printable(text) for text in self.command(words))
            except Quit:
                return
            except RunError as error:
                yield printable(f"error: {error}")

    def command(self, words: list[str]) -> Iterator[str]:
        if not words:
            return
        names = [n for n in self.commands if n.startswith(words[0])]
        if not names:
            raise RunError(f"no command {words[0]!r}; there are {', '.join(self.commands)}")
        yield from self.commands[names[0]](words[1:])

    @cached_property
    def commands(self) -> dict[str, Callable[[list[str]], Iterator[str]]]:
        return {
            "break": self.set_break,
            "continue": self.go,
            "delete": self.delete,
            "info": self.info,
            "step": self.step,
            "where": self.where,
            "list": self.list_next,
            "print": self.print_tensor,
            "quit": self.quit,
            "x": self.examine,
            "counters": self.counters,
            "queues": self.queues,
            "help": lambda _: iter(HELP.splitlines()),
        }

    # Going on

    def step(self, words: list[str]) -> Iterator[str]:
        yield from self.execute(number(words[0]) if words else 1, stops=lambda _: False)

    def go(self, _: list[str]) -> Iterator[str]:
        stops = [b.stops for b in self.breakpoints.values()]
        yield from self.execute(self.count, lambda i: any(stop(i) for stop in stops))

    def execute(self, most: int, stops: Stops) -> Iterator[str]:
        """Up to `most` instructions, to before one that stops; the next one does not."""
        if self.next == self.count:
            raise RunError("the program has ended")
        end = min(self.next + most, self.count)
        while self.next < end:
            self.session.step(self.next, self.machine)
            self.next += 1
            if self.next < end and stops(self.next):
                break
        yield from self.where([])

    def quit(self, _: list[str]) -> Iterator[str]:
        raise Quit

    # Breakpoints

    def set_break(self, words: list[str]) -> Iterator[str]:
        kind, rest = (words[0], " ".join(words[1:])) if len(words) > 1 else ("", "".join(words))
        makers = {
            "": self.at_number,
            "node": self.at_node,
            "cycle": self.at_cycle,
            "address": self.at_address,
        }
        if not rest or kind not in makers:
            raise RunError("break needs N, node NAME, cycle C or address MEMORY:BYTE")
        self.numbered += 1
        self.breakpoints[self.numbered] = Breakpoint(" ".join(words), makers[kind](rest))
        yield f"breakpoint {self.numbered}: {' '.join(words)}"

    def at_number(self, text: str) -> Stops:
        wanted = number(text)
        return lambda index: index == wanted

    def at_node(self, text: str) -> Stops:
        debug = self.session.image.debug
        if debug is None or not any(text in node for node in debug.nodes):
            raise RunError(f"no node's name holds {text!r}")
        node = self.listing.node
        return lambda i: text in node(i) and (i == 0 or node(i) != node(i - 1))

    def at_cycle(self, text: str) -> Stops:
        start = self.session.profile.timeline.start
        late = np.flatnonzero(start >= number(text))
        if not len(late):
            raise RunError(f"the program ends in cycle {self.session.profile.cycles}")
        return self.at_number(str(late[0]))

    def at_address(self, text: str) -> Stops:
        memory, byte = place(text)
        found = self.session.verification.accesses
        near = (found.memory == memory) & (found.start <= byte) & (byte < found.stop)
        rows = [r for r in np.flatnonzero(near).tolist() if touched(found, r, byte, byte + 1)[0]]
        hits = frozenset(found.instruction[rows].tolist())
        return lambda index: index in hits

    def delete(self, words: list[str]) -> Iterator[str]:
        for key in [number(w) for w in words] or list(self.breakpoints):
            if self.breakpoints.pop(key, None) is None:
                raise RunError(f"there is no breakpoint {key}")
        yield from self.info([])

    def info(self, _: list[str]) -> Iterator[str]:
        for key, found in self.breakpoints.items():
            yield f"breakpoint {key}: {found.text}"
        if not self.breakpoints:
            yield "no breakpoints"

    # Looking

    def where(self, _: list[str]) -> Iterator[str]:
        yield self.line(self.next) if self.next < self.count else "end of the program"

    def list_next(self, words: list[str]) -> Iterator[str]:
        most = number(words[0]) if words else LISTED
        for index in range(self.next, min(self.next + most, self.count)):
            yield self.line(index)

    def line(self, index: int) -> str:
        time = self.session.profile.timeline
        cycles = f"cycles {time.start[index]}..{time.end[index]}"
        return f"{cycles}: {self.listing.instruction(index)}"

    def print_tensor(self, words: list[str]) -> Iterator[str]:
        name = " ".join(words)
        symbol = self.session.symbols.get(name)
        if symbol is None:
            raise RunError(f"no tensor {name!r} has a place in memory")
        value = self.machine.symbol(symbol)[0]
        where = " and ".join(f"{s.memory}:{s.address:#x}" for s in symbol.parts())
        yield f"{symbol.name}: {value.dtype}{list(value.shape)} at {where}"
        yield from str(value).splitlines()

    def examine(self, words: list[str]) -> Iterator[str]:
        if len(words) not in (2, 3) or words[1] not in core.DTYPE_NAMES:
            raise RunError(
                f"x needs MEMORY:BYTE, a type of {', '.join(core.DTYPE_NAMES)}, and COUNT"
            )
        memory, byte = place(words[0])
        shape = tuple(number(w) for w in words[2].split("x")) if words[2:] else (1,)
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
        code = core.DTYPE_NAMES.index(words[1])
        yield from str(self.machine.view(memory, byte, shape, strides, code)[0]).splitlines()

    def counters(self, _: list[str]) -> Iterator[str]:
        time, done = self.session.profile.timeline, slice(0, self.next)
        costs, engine = time.prices, time.engine[done]
        for e in np.unique(time.engine[time.engine >= 0]).tolist():
            mine = engine == e
            busy = int((time.end - time.start)[done][mine].sum())
            sums = {n: int(getattr(costs, n)[done][mine].sum()) for n in ("macs", "bus", "spad")}
            text = f"{core.ENGINES[e]:<8} {busy} cycles busy, {sums['macs']} MACs, "
            yield f"{text}{sums['bus']} bytes of DRAM, {sums['spad']} of scratchpads"

    def queues(self, _: list[str]) -> Iterator[str]:
        engine = self.session.program.engine_of
        for e in np.unique(engine[engine >= 0]).tolist():
            queue = np.flatnonzero(engine == e)
            done = int(np.searchsorted(queue, self.next))
            ahead = (
                f"next {self.listing.instruction(int(queue[done]))}" if done < len(queue) else ""
            )
            yield f"{core.ENGINES[e]:<8} {done} of {len(queue)} {ahead or 'all executed'}"


def number(text: str) -> int:
    """Raises RunError."""
    try:
        value = int(text, 0)
    except ValueError:
        raise RunError(f"{text!r} is not a number") from None
    if value < 0:
        raise RunError(f"{text!r} is negative")
    return value


def place(text: str) -> tuple[int, int]:
    """Memory and byte of "1:0x40"."""
    memory, colon, byte = text.partition(":")
    if not colon:
        raise RunError(f"{text!r} is not MEMORY:BYTE, as 1:0x40")
    return number(memory), number(byte)
