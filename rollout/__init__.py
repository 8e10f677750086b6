"""rollout: a progressive delivery controller for upgrades that must not hurt."""
