# resnet20_target-macs_cifar10.py on the same images as class folders,
# data/cifar10/{train,test}/<class>/. Not the paper's recipe.
#
# Paper: nothing to compare with.
# Ours: not run at full length; 20 epochs of 10,000 images of a JPEG copy: results/README.md.
#
#   python tools/train.py configs/resnet20_target-macs_cifar10_folder.py
#
# It starts from the plain network trained on these images (_base_/datasets/cifar10_folder.py says
# how resnet20_cifar10.py reads folders), and distills from it:
#   --cfg-options model.init_cfg.checkpoint=FILE model.teacher.init_cfg.checkpoint=FILE
# or from nothing: --cfg-options model.init_cfg=None model.teacher=None
#
# Knob: the MACs you can afford: --cfg-options model.gate_losses.target.target=0.4
_base_ = ["resnet20_target-macs_cifar10.py", "_base_/datasets/cifar10_folder.py"]
train_dataloader = dict(dataset=_base_.folder_train)
val_dataloader = test_dataloader = dict(dataset=_base_.folder_test)
data_preprocessor = dict(to_rgb=True)
