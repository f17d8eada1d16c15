"""Steps of the PE array."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dnncc.isa import tensor
from dnncc.targets import Target, dataflow

from ..ir.tile import Compute, Env
from .locate import Located, Site, count_of, locate, ring_fields

COPIED = ("r", "s", "stride_y", "stride_x", "dilation_y", "dilation_x")


def emit(site: Site, step: Compute, env: Env) -> Any:
    """Without the array's parameters, which `map_tiles` puts in."""
    return tensor.Tensor.records(count_of(env), **fields_of(site, step, env))


def map_tiles(target: Target, emitted: Sequence[tuple[Compute, Any]]) -> None:
    """Put the best array parameters into the records of steps; those of all steps are chosen at
    once, as few tiles take almost as long as many."""
    alike: dict[tuple[tuple[str, int], ...], list[Any]] = {}
    for step, records in emitted:
        alike.setdefault(tuple(step.attrs.get("parameters", {}).items()), []).append(records)
    for given, several in alike.items():
        every: Any = tensor.Tensor.from_records(np.concatenate(several))
        work = work_of(vars(every), len(every.k))
        params = parameters(target, dict(given), work)
        ends = np.cumsum([len(records) for records in several])[:-1]
        for records, chosen in zip(several, np.split(params, ends), strict=True):
            for i, column in enumerate(chosen.T):
                records[f"map{i}"] = column


def fields_of(site: Site, step: Compute, env: Env) -> dict[str, Any]:
    """All but the array parameters."""
    fields = operands(site, step, env) | ring_fields(site, step.operands["ifmap"], env)
    fields |= {name: step.attrs[name] for name in (*COPIED, "ifmap_zero", "weight_zero")}
    return fields | {"accumulate": accumulates(step, env)}


def tiles(site: Site, step: Compute, env: Env) -> tuple[dataflow.Work, Any]:
    """Every tile of the step as the dataflow sees it, and its array parameters."""
    work = work_of(fields_of(site, step, env), count_of(env))
    return work, parameters(site.target, step.attrs.get("parameters", {}), work)


def sizes(place: Mapping[str, Located], attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Of the tile, from what its operands cover."""
    n, filters, p, q = (place["psum"].axis(attrs["psum_axes"], axis)[0] for axis in "nkpq")
    channels, c = (place[x].axis(attrs[f"{x}_axes"], "c")[0] for x in ("ifmap", "weight"))
    groups = channels // c
    return {"n": n, "g": groups, "k": filters // groups, "c": c, "p": p, "q": q}


def accumulates(step: Compute, env: Env) -> Any:
    later = [env[v].index > 0 for v in step.accumulate]
    return np.logical_or.reduce(later).astype(np.int64) if later else 0


def operands(site: Site, step: Compute, env: Env) -> dict[str, Any]:
    place = {name: locate(site, o, env) for name, o in step.operands.items()}
    ifmap, weight = place["ifmap"], place["weight"]
    axes, weight_axes = step.attrs["ifmap_axes"], step.attrs["weight_axes"]
    (h, stride_h), (w, stride_w) = ifmap.axis(axes, "h"), ifmap.axis(axes, "w")
    stride_k, tile = weight.axis(weight_axes, "k")[1], sizes(place, step.attrs)
    fields = {
        **tile,
        "ifmap": ifmap.address,
        "weight": weight.address,
        "psum": place["psum"].address,
        "ifmap_dtype": ifmap.dtype,
        "weight_dtype": weight.dtype,
        "h": h,
        "w": w,
        "ifmap_sn": ifmap.axis(axes, "n")[1],
        "ifmap_sc": ifmap.axis(axes, "c")[1],
        "ifmap_sh": stride_h,
        "ifmap_sw": stride_w,
        "weight_sg": tile["k"] * stride_k,
        "weight_sk": stride_k,
        "weight_sc": weight.axis(weight_axes, "c")[1],
        "pad_top": pad(place, step.attrs, "h", "p"),
        "pad_left": pad(place, step.attrs, "w", "q"),
    }
    return fields | ({"zeros": place["zeros"].address} if "zeros" in place else {})


def pad(place: Mapping[str, Located], attrs: Mapping[str, Any], axis: str, of: str) -> Any:
    """Rows or columns of padding before the ifmap's; those of results that are cut off, too, are
    not computed."""
    asked = place["ifmap"].before(attrs["ifmap_axes"], axis)
    stride = attrs["stride_y" if axis == "h" else "stride_x"]
    return asked - stride * place["psum"].before(attrs["psum_axes"], of)


def work_of(fields: Mapping[str, Any], count: int) -> dataflow.Work:
    """The tiles as the dataflow sees them, from the fields of their instructions."""
    names = ("n", "g", "k", "c", "p", "q", "h", "w", *COPIED)
    taken = {n: np.broadcast_to(np.asarray(fields[n], np.int64), (count,)) for n in names}
    accumulate = np.broadcast_to(np.asarray(fields["accumulate"], bool), (count,))
    return dataflow.Work(**taken, accumulate=accumulate)


def parameters(target: Target, given: Mapping[str, int], work: dataflow.Work) -> Any:
    """The best array parameters of each tile, edges included, with those that are given."""
    return dataflow.model(target).choose(target, work, dataflow.fixed(target, given))
