"""A slot of which the array reads parts one after the other is taken until it has read the last."""

import numpy as np

import dnncc
from dnncc.mapping.beside import common
from dnncc.mapping.cost import Problem
from dnncc.mapping.lowering import workload
from dnncc.mapping.moves import transfers
from dnncc.mapping.search import options_of
from tests.compiler.passes.test_groups_apart import shuffled


def test_the_array_works_on_an_ifmap_of_which_it_reads_one_group_at_a_time() -> None:
    model, _ = shuffled(1, 4, channels=(16, 16, 14))
    artifact = dnncc.compile(model, "nvdla-like-full", strict=True)
    group = next(n for n in artifact.graph.nodes if n.op == "group")
    load = workload(group, artifact.graph, artifact.target)
    assert "ifmap" in {access.within for access in load.accesses()}
    problem = Problem(load, artifact.graph, artifact.target, group.attrs["free"])
    options, steps = options_of(problem), {v: np.array([1]) for v in load.dims}
    found = common(problem, options[0], steps, transfers(problem, options, steps))
    assert "ifmap" in found.turns and "ifmap" not in found.lanes
