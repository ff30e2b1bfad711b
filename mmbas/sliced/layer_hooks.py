"""Forward hooks on layers that sliced execution computes without calling them."""

from __future__ import annotations

import warnings

from torch import nn

from mmbas.costs import drop_counting_hooks


class UncalledLayers:
    """The layers within a backbone; their hooks would never run.

    Args:
        backbone: Hooks that its layers have are taken off, with a warning.
    """

    def __init__(self, backbone: nn.Module) -> None:
        drop_counting_hooks(backbone)
        self._hooks = [
            (name, hooks)
            for name, module in backbone.named_modules()
            for hooks in (module._forward_hooks, module._forward_pre_hooks)
        ]
        hooked = self._hooked()
        if hooked:
            warnings.warn(
                f"the hooks on {', '.join(hooked)} never run in an accelerated model, which does "
                "not call these layers one by one; they are taken off",
                stacklevel=2,
            )
        for _, hooks in self._hooks:
            hooks.clear()

    def check(self) -> None:
        """Refuse hooks that came later.

        Raises:
            RuntimeError: If there are any.
        """
        # In every call: as cheap as can be.
        if any(hooks for _, hooks in self._hooks):
            raise RuntimeError(
                f"expected no hooks on layers of an accelerated backbone, but got some on "
                f"{', '.join(self._hooked())}, which is not called; take them off or run the model "
                "that it was made from"
            )

    def _hooked(self) -> list[str]:
        names = [name or "the backbone" for name, hooks in self._hooks if hooks]
        return list(dict.fromkeys(names))
