"""Forward hooks on layers that sliced execution computes without calling them."""

from __future__ import annotations

import warnings

from torch import nn

from mmbas.costs import drop_counting_hooks


def take_off_hooks(backbone: nn.Module) -> None:
    """Take the hooks off a backbone and its layers, with a warning that names the layers."""
    layers = UncalledLayers(backbone)
    if hooked := layers.hooked():
        warnings.warn(
            f"the hooks on {', '.join(hooked)} never run in an accelerated model, which does not "
            "call these layers one by one; they are taken off",
            stacklevel=2,
        )
        layers.clear()


class UncalledLayers:
    """A backbone and the layers in it, whose hooks would never run.

    Args:
        backbone: Its layers are those that it has now.
    """

    def __init__(self, backbone: nn.Module) -> None:
        drop_counting_hooks(backbone)
        self._backbone = backbone
        self._hooks = [
            (name or "the backbone", hooks)
            for name, module in backbone.named_modules()
            for hooks in (module._forward_hooks, module._forward_pre_hooks)
        ]

    def check(self) -> None:
        """Refuse hooks.

        Raises:
            RuntimeError: If there are any.
        """
        # In every call: as cheap as can be.
        if any(hooks for _, hooks in self._hooks):
            hooked = self.hooked()
            drop_counting_hooks(self._backbone)  # nobody else could take them off
            raise RuntimeError(
                "expected no hooks on layers of an accelerated backbone, nor a count of MACs in a "
                f"part of it, but got some on {', '.join(hooked)}, which is not called; take them "
                "off, count the whole backbone, or run the model that it was made from"
            )

    def hooked(self) -> list[str]:
        """Names of the layers that have hooks."""
        return list(dict.fromkeys(name for name, hooks in self._hooks if hooks))

    def clear(self) -> None:
        """Take all hooks off."""
        for _, hooks in self._hooks:
            hooks.clear()
