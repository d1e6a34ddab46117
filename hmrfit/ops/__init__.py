"""Pure functions of tensors. They take any leading dimensions and leave their inputs as they were."""
