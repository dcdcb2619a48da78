"""What is learned from what: one file per kind of task data, for `pretrain`, `finetune` and `evaluate` alike."""
