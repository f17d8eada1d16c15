"""dnncc-verify: prove, before any run, that binaries keep their engines and buffers in order."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dnncc.isa.command import FAILED, finish

from .cli import print_version, told

if TYPE_CHECKING:  # all else is imported when it is needed: --help has to be quick
    from .findings import Finding


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser("dnncc-verify", description=(__doc__ or "").partition(": ")[2])
    p.add_argument("models", nargs="+", metavar="MODEL", type=Path, help="binaries dnncc made")
    p.add_argument("--most", type=int, default=20, metavar="N", help="findings to print (20)")
    p.add_argument("-q", "--quiet", action="store_true", help="print nothing but findings")
    p.add_argument("-v", "--verbose", action="store_true", help="print what is proved")
    p.add_argument("--version", action="store_true", help="print the version")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 if nothing is wrong with any of the binaries, 1 if something is."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if "--version" in arguments:
        print_version("dnncc-verify")
        return 0
    options = parser().parse_args(arguments)
    return finish(lambda: run(options), told, options.verbose)


def run(options: argparse.Namespace) -> int:
    wrong = [report(path, options) for path in options.models]
    return FAILED if any(wrong) else 0


def report(path: Path, options: argparse.Namespace) -> bool:
    """Print what is wrong with one binary; whether anything is."""
    from dnncc.isa import core

    from . import loading
    from .errors import RunError
    from .findings import shown
    from .verification import verify

    try:
        image = loading.read(path)
    except (RunError, core.IsaError) as error:
        raise RunError(f"{path}: {error}") from None
    findings = verify(image)
    for line in shown(findings, max(options.most, 0)):
        print(f"{path}: {line}")
    if not findings and not options.quiet:
        print(f"{path}: nothing wrong")
    if options.verbose:
        print(table(findings))
    return bool(findings)


def table(findings: "Sequence[Finding]") -> str:
    """Each check, what it proves, and how often that does not hold."""
    from .verification import CHECKS

    counts = {check: sum(f.check == check for f in findings) for check in CHECKS}
    return "\n".join(
        f"  {check:<12} {counts[check] or 'ok':>4}  {what}" for check, what in CHECKS.items()
    )


if __name__ == "__main__":
    sys.exit(main())
