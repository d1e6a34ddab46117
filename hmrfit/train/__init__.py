"""Training HMR: the losses, each named after its formula."""
