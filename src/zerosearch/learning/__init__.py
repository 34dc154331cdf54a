"""Teaching the policy: advantages, losses (pure functions of tensors), critic, batches, checkpoints, trainer."""
