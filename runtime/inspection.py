"""What dnncc-run shows of a run besides outputs: tensors inside, elements, traces, a debugger."""

import argparse
import sys
from collections.abc import Mapping
from typing import Any

from .debugger import Debugger
from .dump import Dump, save
from .errors import RunError
from .files import write_json
from .lifetime import element
from .observe import Observer
from .session import InferenceSession
from .table import printable
from .trace import trace
from .watch import Watch

PROMPT = "(dnncc) "


def debug(session: InferenceSession, feeds: Mapping[str, Any]) -> None:
    """Commands from stdin, answers to stdout; a prompt if someone sits there."""
    commands = prompted() if sys.stdin.isatty() else sys.stdin
    for line in Debugger(session, feeds).run(commands):
        print(line, flush=True)


def prompted() -> Any:
    while True:
        try:
            yield input(PROMPT)
        except EOFError:
            return


class Inspection:
    """The observers that the command's options ask for, and what they have seen."""

    def __init__(self, session: InferenceSession, options: argparse.Namespace) -> None:
        self.session, self.options = session, options
        if options.until is not None and (options.until < 0 or options.output):
            raise RunError("--until takes 0 or more, and not --output: outputs may be incomplete")
        about = session.verification if options.dump_tensors or options.watch else None
        self.dump = Dump(about, session.image.symbols) if about and options.dump_tensors else None
        self.watches = [
            Watch(about, session.profile.timeline, element(text, session.symbols))
            for text in options.watch
            if about
        ]

    @property
    def observers(self) -> list[Observer]:
        return [*([self.dump] if self.dump else []), *self.watches]

    def finish(self) -> None:
        """Print and write what was asked for."""
        session, options = self.session, self.options
        for watch in self.watches:
            print("\n".join(printable(line) for line in watch.lines()))
        if self.dump and options.dump_tensors:
            count = save(self.dump, options.dump_tensors)
            said = f"{count} tensors, and what they are in index.json"
            self.say(f"tensors      {options.dump_tensors}: {said}")
        if options.trace:
            found = trace(session.verification, session.profile.timeline)
            write_json(options.trace, found, indent=None)
        if options.until is not None:
            self.say(f"stopped      {self.stopped(options.until)}")

    def stopped(self, until: int) -> str:
        if until >= self.session.program.count:
            return "at the end of the program"
        if self.options.schedule != "serial":
            return f"after {until} instructions"
        return f"before {self.session.listing.instruction(until)}"

    def say(self, text: str) -> None:
        if not self.options.quiet:
            print(printable(text))
