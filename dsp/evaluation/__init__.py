"""How well a wake-word model does on labelled streams: misses against false accepts an hour, and how late it decides."""
