"""Training and measuring wake-word models (extra `train`)."""
