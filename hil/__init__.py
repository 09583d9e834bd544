"""The bench: recorded rooms, replayed, and every detection held against the truth."""
