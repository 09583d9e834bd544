"""Utterances kept sealed: only what the owner allowed, and only for as long."""
