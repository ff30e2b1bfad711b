"""Shaping of any feature of any model to any prior, by config alone.

B. E. Bejnordi, T. Blankevoort, M. Welling: Batch-Shaping for Learning Conditional Channel Gated
Networks, ICLR 2020, https://arxiv.org/abs/1907.06627, section 3: "a generally applicable tool".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from mmbas.losses.batch_shaping.distance import Distance, build_target, check_batch
from mmbas.losses.batch_shaping.feature_loss import ADVICE
from mmbas.losses.batch_shaping.gather import gather_batch
from mmbas.losses.batch_shaping.learned_prior import LearnedPrior
from mmbas.losses.batch_shaping.optional_state import StepCount
from mmbas.losses.batch_shaping.prior import Prior, at_least_float32
from mmbas.losses.batch_shaping.queue import LogitQueue
from mmbas.losses.feature_sample import FeatureSample, FeatureSampler, spread
from mmbas.losses.features import check_all_ran, match_modules, record_features
from mmbas.losses.gate_loss import REDUCTIONS, GateLoss
from mmbas.registry import MODELS

SEED_STRIDE = 1_000_003  # torch's generator on the CPU reads 32 bits of a seed
FORMS = ("values", "logits")


@MODELS.register_module()
class ShapingLoss(GateLoss):
    """Shapes the distribution of features over a batch to a prior.

    Args:
        features: Patterns of module names, such as ``'backbone.layer3.*.bn2'``; see
            :func:`match_modules`. The output of each such module is a feature.
        prior: Distribution of the features, a :class:`LearnedPrior`, or the config of one.
        form: ``'values'``, or ``'logits'`` if the features are logits and the prior is that of
            their sigmoid, as for gates.
        dim: ``'channel'``, one distribution for each channel over images and positions, or
            ``'layer'``, one for all values of a feature.
        channel_dim: Dimension of the channels, 1 for (N, C, H, W), -1 for (N, tokens, C).
        max_values: Most values of a distribution in one step, >= 2; more are sampled. With
            ``gather`` that is the number over all processes.
        max_channels: Most channels of a feature in one step, others follow in later steps; None
            takes all. With ``queue_size`` all are taken.
        max_features: Most features in one step, others follow in later steps; None takes all. Each
            feature costs as much memory traffic in the backward pass as a ReLU.
        loss_weight: Factor of the loss, >= 0.
        reduction: Way from the losses of single distributions to one number: ``'layer_mean'``,
            mean over the channels of a feature, summed over features; ``'sum'`` over all;
            ``'mean'`` over all, as in the authors' published code. Channels and features that are
            not taken count as the others do on average.
        gather: See :class:`BatchShapingLoss`.
        queue_size: See the same; in values of each distribution.
        min_density: See :func:`shaping_loss`.
        handle_ties: See the same.
        seed: Seed of the samples. They are those of the step, so a resumed run repeats them.

    Attributes:
        names: Names of the features, known after :meth:`bind`.

    Raises:
        ValueError: If an argument is out of range; in :meth:`bind`, if a pattern names no module.
        TypeError: If prior is no distribution.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from mmbas.losses import NormalPrior, ShapingLoss
        >>> model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU())
        >>> shaping = ShapingLoss(features=["0"], prior=NormalPrior()).bind(model)
        >>> with shaping.recording(model) as features:
        ...     _ = model(torch.randn(4, 3, 16, 16))
        >>> shaping(features).backward()

    Note:
        At weight 0, as before or after a schedule's window, nothing is recorded or computed.
    """

    def __init__(
        self,
        *,
        features: Sequence[str],
        prior: Prior | LearnedPrior | dict[str, Any],
        form: str = "values",
        dim: str = "channel",
        channel_dim: int = 1,
        max_values: int = 4096,
        max_channels: int | None = 32,
        max_features: int | None = 16,
        loss_weight: float = 1.0,
        reduction: str = "layer_mean",
        gather: bool = False,
        queue_size: int = 0,
        min_density: float = 0.0,
        handle_ties: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__(loss_weight=loss_weight)
        for name, value, known in (("reduction", reduction, REDUCTIONS), ("form", form, FORMS)):
            if value not in known:
                raise ValueError(f"expected {name} to be one of {known}, but got {value!r}")
        if isinstance(features, str) or not features:
            raise ValueError(f"expected a list of at least one pattern, but got {features!r}")
        if max_features is not None and max_features < 1:
            raise ValueError(f"expected max_features >= 1 or None, but got {max_features}")
        if queue_size < 0:
            raise ValueError(f"expected queue_size >= 0 values, but got {queue_size}")
        self.features = tuple(features)
        self.prior = build_target(prior)
        of_gates = form == "logits"
        if of_gates:
            self.prior.check_gates()
        if isinstance(self.prior, LearnedPrior) and self.prior.shared != "layer":
            raise ValueError("expected a learned prior with shared='layer' for features")
        self.distance = Distance(of_gates, min_density, handle_ties)
        taken = None if queue_size else max_channels
        self.sampler = FeatureSampler(dim, channel_dim, max_values, taken)
        self.max_features = max_features
        self.reduction = reduction
        self.gather = gather
        self.queue_size = queue_size
        self.seed = seed
        self.names: list[str] = []
        self.queues = nn.ModuleDict()
        self.steps = StepCount()
        self.register_buffer("zero", torch.zeros(()), persistent=False)

    zero: Tensor

    def bind(self, model: nn.Module) -> ShapingLoss:
        """Find the features of a model, before an optimizer is made.

        Returns:
            This loss.

        Raises:
            ValueError: If a pattern names no module; with the nearest names.
        """
        self.names = match_modules(model, self.features)
        if isinstance(self.prior, LearnedPrior):
            self.prior.reserve(len(self.names))
        if self.queue_size:
            self.queues = nn.ModuleDict(
                {_key(name): LogitQueue(self.queue_size) for name in self.names}
            )
        return self

    @contextmanager
    def recording(self, model: nn.Module) -> Iterator[dict[str, FeatureSample]]:
        """Sample the features of what ``model`` computes inside a ``with`` statement.

        Yields:
            Samples by feature; filled while the model runs, and what :meth:`forward` takes.

        Raises:
            RuntimeError: If the loss is not bound, a feature did not run, or has no gradient.
        """
        if not self.names:
            raise RuntimeError("expected a loss that knows its features, but got none; call bind()")
        if self.loss_weight * self.factor == 0:
            yield {}
            return
        generator = torch.Generator().manual_seed(self.seed * SEED_STRIDE + self.steps.count)
        self.steps.count += self.training
        most = len(self.names) if self.max_features is None else self.max_features
        chosen = spread(len(self.names), most, generator)
        names = self.names if chosen is None else [self.names[i] for i in chosen.tolist()]

        def take(name: str, feature: Tensor) -> FeatureSample:
            if self.training and torch.is_grad_enabled() and not feature.requires_grad:
                raise RuntimeError(
                    f"expected a gradient to reach the feature {name}, but it has none; it may be "
                    "frozen, or computed inside a reentrant checkpoint (with_cp=True)"
                )
            return self.sampler.take(feature, generator, shared=self.gather)

        with record_features(model, names, take) as records:
            yield records
        check_all_ran(names, records)

    def forward(self, features: Mapping[str, FeatureSample]) -> Tensor:
        """Weighted loss of all features, a scalar; a constant 0 if weight or factor is 0.

        Args:
            features: Samples by name, of :meth:`recording`.
        """
        weight = self.loss_weight * self.factor
        if weight == 0:
            return self.zero.clone()
        means = self._means(features)
        stacked = torch.stack(list(means.values()))
        if self.reduction != "mean":
            taken = {name.partition("#")[0] for name in features}
            weight = weight * len(self.names) / len(taken)
        if self.reduction == "layer_mean":
            return weight * stacked.sum()
        sizes = stacked.new_tensor([features[name].num_distributions for name in means])
        total = (stacked * sizes).sum()
        return weight * (total if self.reduction == "sum" else total / sizes.sum())

    def terms_of(self, features: Mapping[str, FeatureSample], name: str) -> dict[str, Tensor]:
        """Entries of a model's dict of losses: the loss, and that of a learned prior's parameters.

        Args:
            features: See :meth:`forward`.
            name: Ending of the keys.
        """
        terms = {f"loss_shaping_{name}": self(features)}
        if isinstance(self.prior, LearnedPrior):
            hyper_loss = self.loss_weight * self.factor * self.prior.hyper_loss()
            terms[f"loss_shaping_{name}_hyper"] = hyper_loss
        return terms

    def extra_repr(self) -> str:
        """Arguments for ``print(model)``."""
        return (
            f"features={list(self.features)}, prior={self.prior}, {self.sampler}, "
            f"loss_weight={self.loss_weight}, reduction={self.reduction!r}, gather={self.gather}"
        )

    def _means(self, features: Mapping[str, FeatureSample]) -> dict[str, Tensor]:
        """Mean distance over the distributions of each feature."""
        groups: dict[Any, list[str]] = {}
        for name, sample in features.items():
            groups.setdefault(name if self.queue_size else len(sample.values), []).append(name)
        means = {}
        for names in groups.values():  # features with as many values share one sort
            values = at_least_float32(torch.cat([features[n].values.t() for n in names]).t())
            if self.gather:
                values = gather_batch(values)
            sizes = [features[name].values.shape[1] for name in names]
            distances = self._distances(names, sizes, values).split(sizes)
            means.update({n: each.mean() for n, each in zip(names, distances, strict=True)})
        return means

    def _distances(self, names: Sequence[str], sizes: Sequence[int], values: Tensor) -> Tensor:
        """Distance of each column of ``values``, which hold features of some sizes side by side."""
        older = self._older(names[0], values) if self.queue_size else None
        check_batch("values", values, older, advice=ADVICE)
        owners = None
        if isinstance(self.prior, LearnedPrior):
            sets = torch.tensor([self.names.index(name.partition("#")[0]) for name in names])
            owners = sets.repeat_interleave(torch.tensor(sizes))
        return self.distance(values, self.prior, owners=owners, others=older)

    def _older(self, name: str, values: Tensor) -> Tensor:
        """Older values of a feature, to which its newest are added in training."""
        if _key(name) not in self.queues:
            raise RuntimeError(
                f"expected each feature with a queue once per pass, but got another call, {name}; "
                "use queue_size=0, or name modules that are called once"
            )
        queue: Any = self.queues[_key(name)]
        older: Tensor = queue.values_for(values)
        if self.training:
            queue.push(values)
        return older


def _key(name: str) -> str:
    """A module's name as a key of ``nn.ModuleDict``, which has no dots."""
    return name.replace(".", "/")
