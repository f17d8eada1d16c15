"""The one seam for what looks on while passes run: printing, dumping, timing, checking.

As TVM's pass instruments: `should_run` may have an optional pass left out, `before` and `after` see
the program. An observer that raises stops the compilation; none of them changes the program.
"""

from ..passes.pipeline import Pass, Program


class Observer:
    """Sees nothing; subclasses define what they need."""

    def should_run(self, step: Pass) -> bool:
        """Whether `step`, which can be left out, runs."""
        return True

    def before(self, step: Pass, program: Program | None) -> None:
        """The program that `step` is given; None before the import."""

    def after(self, step: Pass, program: Program) -> None:
        """The program that `step` made."""

    def summary(self) -> str:
        """What is to be told when all is done, one line; "" for nothing."""
        return ""
