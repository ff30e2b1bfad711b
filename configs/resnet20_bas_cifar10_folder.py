# resnet20_bas_cifar10.py on the same images as class folders, data/cifar10/{train,test}/<class>/.
#
# Paper: as resnet20_bas_cifar10.py, if the folders hold the original images; a lossy copy is
# another data set, to be named in every result and compared with nothing but itself.
# Ours: not run.
#
#   python tools/train.py configs/resnet20_bas_cifar10_folder.py
#
# Knob: gamma: --cfg-options model.gate_losses.l0.loss_weight=0.1
_base_ = ["resnet20_bas_cifar10.py", "_base_/datasets/cifar10_folder.py"]
train_dataloader = dict(dataset=_base_.folder_train)
val_dataloader = test_dataloader = dict(dataset=_base_.folder_test)
data_preprocessor = dict(to_rgb=True)
