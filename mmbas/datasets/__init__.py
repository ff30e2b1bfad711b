"""Small real data sets. Each needs only the host whose base class it extends."""

from importlib.util import find_spec

__all__: list[str] = []

if find_spec("mmpretrain") is not None:
    from mmbas.datasets.digits import Digits

    __all__ += ["Digits"]
