"""How long a test waits for what is sure to come: enough on a machine that is busy with other things, an end where it hangs."""

PATIENCE_S = 300
