# LAUDNet, mode "channel", ResNet-50 on ImageNet, under its authors' schedule: the same gates after
# the first and the second convolution of each bottleneck.
#
# Paper: a figure in the authors' readme; no number is printed there.
# Departs from the authors: closed channels are zero after ReLU (theirs are masked before
# normalisation, so that a closed channel is a constant), one gate for each channel, and 64 hidden
# neurons in all stages (theirs: a sixteenth of the gates, at least 16).
# Ours: not run.
#
#   python tools/train.py configs/resnet50_imagenet.py  # once, the plain network
#   python tools/train.py configs/rivals/resnet50_laud-channel_imagenet.py
#   bash tools/dist_train.sh configs/rivals/resnet50_laud-channel_imagenet.py 4 --cfg-options \
#     train_dataloader.batch_size=256
#
# Knob: see resnet50_laud-layer_imagenet.py.
_base_ = "resnet50_laud-layer_imagenet.py"
model = dict(
    backbone=dict(
        gate_positions="shared",
        gate=dict(
            _delete_=True,
            type="mmbas.ChannelGate",
            hidden_channels=64,
            norm=False,
            temperature=5.0,
            init_open_prob=0.982,
        ),
    )
)
