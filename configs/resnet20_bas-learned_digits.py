# ResNet20-BAS on the handwritten digits whose layers learn their sparsity, set by one number.
#
# Each layer has a relaxed Bernoulli prior of its own, whose prob is learned and shaped to a normal
# distribution around the open fraction that the whole network shall have (MSViT, arXiv:2307.02321).
# lambda stays constant and there is no L0 loss.
#
# Paper: nothing to compare with. Ours: not run.
#
#   python tools/train.py configs/resnet20_bas-learned_digits.py
#
# Knob: the open fraction of the whole network,
#   --cfg-options model.gate_losses.bas.prior.hyperpriors.prob.mean=0.4
_base_ = ["resnet20_bas_digits.py"]

model = dict(
    gate_losses=dict(
        l0=None,
        bas=dict(
            reduction="layer_mean",
            prior=dict(
                _delete_=True,
                type="mmbas.LearnedPrior",
                prior=dict(type="mmbas.RelaxedBernoulliPrior", prob=0.6, temperature=0.5),
                learn=["prob"],
                hyperpriors=dict(prob=dict(type="mmbas.NormalPrior", mean=0.6, std=0.15)),
                hyper_weight=10.0,
                min_density=0.1,
            ),
        ),
    ),
)
optim_wrapper = dict(
    paramwise_cfg=dict(custom_keys={"gate_losses": dict(decay_mult=0.0)}),
)
custom_hooks = [dict(type="mmbas.GateMonitorHook", interval=23)]
