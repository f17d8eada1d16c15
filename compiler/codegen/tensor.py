"""Steps of the PE array."""

from typing import Any

import numpy as np

from dnncc.isa import tensor
from dnncc.targets import dataflow

from ..ir.tile import Compute, Env
from .locate import Site, count_of, locate

COPIED = ("r", "s", "stride_y", "stride_x", "dilation_y", "dilation_x")


def emit(site: Site, step: Compute, env: Env) -> Any:
    count = count_of(env)
    fields = sizes(env) | operands(site, step, env)
    fields |= {name: step.attrs[name] for name in (*COPIED, "ifmap_zero", "weight_zero")}
    fields["accumulate"] = accumulates(step, env)
    return tensor.Tensor.records(count, **fields, **array_mapping(site, fields, count))


def sizes(env: Env) -> dict[str, Any]:
    return {v: env[v].high - env[v].low for v in ("n", "g", "k", "c", "p", "q")}


def accumulates(step: Compute, env: Env) -> Any:
    later = [env[v].index > 0 for v in step.accumulate]
    return np.logical_or.reduce(later).astype(np.int64) if later else 0


def operands(site: Site, step: Compute, env: Env) -> dict[str, Any]:
    place = {name: locate(site, o, env) for name, o in step.operands.items()}
    ifmap, weight = place["ifmap"], place["weight"]
    axes, weight_axes = step.attrs["ifmap_axes"], step.attrs["weight_axes"]
    (h, stride_h), (w, stride_w) = ifmap.axis(axes, "h"), ifmap.axis(axes, "w")
    k, stride_k = weight.axis(weight_axes, "k")
    del k
    per_group = env["k"].high - env["k"].low
    fields = {
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
        "weight_sg": per_group * stride_k,
        "weight_sk": stride_k,
        "weight_sc": weight.axis(weight_axes, "c")[1],
        "pad_top": ifmap.extents[axes.index("h")].before if "h" in axes else 0,
        "pad_left": ifmap.extents[axes.index("w")].before,
    }
    return fields | ({"zeros": place["zeros"].address} if "zeros" in place else {})


def array_mapping(site: Site, fields: dict[str, Any], count: int) -> dict[str, Any]:
    """The best array parameters of each tile, edges included."""
    names = ("n", "g", "k", "c", "p", "q", "h", "w", *COPIED)
    taken = {n: np.broadcast_to(np.asarray(fields[n], np.int64), (count,)) for n in names}
    accumulate = np.broadcast_to(np.asarray(fields["accumulate"], bool), (count,))
    work = dataflow.Work(**taken, accumulate=accumulate)
    params = dataflow.model(site.target).choose(site.target, work)
    return {f"map{i}": params[..., i] for i in range(params.shape[-1])}
