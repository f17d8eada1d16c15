"""No layer comes before the first one, beside which its constants could be loaded."""

import dnncc
from dnncc.isa import core
from dnncc.runtime import InferenceSession
from tests.compiler.mapping.test_bound import layers

WIDE = (256, 256, 1, 1)
TARGET = "gemmini-like"


def test_the_first_layer_does_not_wait_for_all_of_its_weights() -> None:
    artifact = dnncc.compile(layers([WIDE], 12), TARGET, strict=True)
    timeline = InferenceSession(artifact.image).profile.timeline
    begun = timeline.start[timeline.engine == core.ENGINES.index("tensor")].min()
    link = artifact.target.channel_of("load0")
    assert begun - artifact.target.issue.start_cycles < 256 * 256 / link.bytes_per_cycle
