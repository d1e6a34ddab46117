"""Pickles as Python 2, old NumPy, old SciPy and chumpy wrote them, made without any of the four."""

import io
import pickle
import struct
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import numpy as np
import scipy.sparse


class Python2Pickler(pickle._Pickler):
    """Text and bytes are both Python 2's `str`; NumPy's rebuilding function has its old module."""

    dispatch: ClassVar = dict(pickle._Pickler.dispatch)

    def save_text(self, value: str | bytes) -> None:
        raw = value.encode("latin1") if isinstance(value, str) else value
        if not self.bin:
            self.write(b"S" + repr(raw)[1:].encode() + b"\n")
        elif len(raw) < 256:
            self.write(b"U" + bytes([len(raw)]) + raw)
        else:
            self.write(b"T" + struct.pack("<i", len(raw)) + raw)
        self.memoize(value)

    dispatch[str] = dispatch[bytes] = save_text

    def save_global(self, value: Any, name: str | None = None) -> None:
        if value.__module__.startswith("numpy._core"):
            self.write(f"cnumpy.core.multiarray\n{value.__name__}\n".encode())
            self.memoize(value)
        else:
            super().save_global(value, name)

    dispatch[types.FunctionType] = dispatch[type] = save_global


def dumps(value: Any, protocol: int = 2) -> bytes:
    """As `cPickle.dumps` of Python 2."""
    out = io.BytesIO()
    Python2Pickler(out, protocol).dump(value)
    return out.getvalue()


@contextmanager
def fake_class(path: str) -> Iterator[type]:
    """An importable class of that dotted name, as long as the block lasts."""
    module_name, name = path.rsplit(".", 1)
    made = type(name, (), {"__module__": module_name})
    parts = module_name.split(".")
    added = [".".join(parts[: i + 1]) for i in range(len(parts))]
    added = [m for m in added if m not in sys.modules]
    sys.modules.update({m: types.ModuleType(m) for m in added})
    before = vars(sys.modules[module_name]).get(name)
    setattr(sys.modules[module_name], name, made)
    try:
        yield made
    finally:
        for m in added:
            del sys.modules[m]
        if before is not None:
            setattr(sys.modules[module_name], name, before)


def instance(cls: type, **state: Any) -> Any:
    made = cls()
    made.__dict__.update(state)
    return made


def chumpy_state(**terms: Any) -> dict[str, Any]:
    """What chumpy's `__getstate__` leaves beside the terms."""
    return {"_dirty_vars": set(terms), "_itr": None, "_depends_on_deps": False, **terms}


def smpl_pickle(body: Mapping[str, np.ndarray], protocol: int = 2) -> bytes:
    """As the published SMPL and MANO files: J_regressor a SciPy csc, shapedirs chumpy's Select of a Ch, text beside."""
    csc = scipy.sparse.csc_matrix(body["J_regressor"])
    with (
        fake_class("chumpy.ch.Ch") as ch,
        fake_class("chumpy.reordering.Select") as select,
        fake_class("scipy.sparse.csc.csc_matrix") as old_csc,
    ):
        whole = body["shapedirs"]
        wide = np.concatenate([whole, whole + 1], axis=2)
        idxs = np.arange(wide.size).reshape(wide.shape)[:, :, : whole.shape[2]].ravel()
        inner = instance(ch, **chumpy_state(x=wide))
        fields = {
            **body,
            "J_regressor": instance(
                old_csc, _shape=csc.shape, maxprint=50, data=csc.data, indices=csc.indices, indptr=csc.indptr
            ),
            "shapedirs": instance(select, **chumpy_state(a=inner, idxs=idxs, preferred_shape=whole.shape)),
            "v_template": instance(ch, **chumpy_state(x=body["v_template"])),
            "posedirs": np.asfortranarray(body["posedirs"]),
            "bs_style": "lbs",
            "bs_type": "lrotmin",
        }
        return dumps(fields, protocol)
