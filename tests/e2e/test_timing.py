"""The event loop times whole networks as asking every unit again and again does."""

from pathlib import Path

import pytest

from dnncc.runtime import timing
from tests.e2e.running import ODD, TARGETS, compiled
from tests.models import QUANTISED
from tests.runtime.polling import assert_polled

SMALL = tuple(name for name in QUANTISED if not name.startswith("coral_mobilenet_v2"))
CASES = [(name, target) for name in SMALL for target in (*TARGETS, ODD)]
CASES += [(SMALL[0], t) for t in ("diannao-like", "gemmini-like", "nvdla-like-full")]


@pytest.mark.parametrize(("name", "target"), CASES, ids=lambda v: Path(str(v)).stem)
def test_times(name: str, target: str) -> None:
    session = compiled(name, target).session
    assert_polled(session.profile.timeline, session.program, session.target)
    again = timing.simulate(session.program, session.target)
    assert again.cycles == session.profile.cycles
