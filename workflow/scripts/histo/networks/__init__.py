"""Networks: from a batch of tiles to one logit each. Run as a module, it lists them with their numbers of parameters."""
