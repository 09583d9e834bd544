"""Utterances kept sealed: only what the owner allowed, and only for as long. Needs `farfield[store]`."""

from farfield.store.consent import PURPOSES, Consent, Policy
from farfield.store.receipt import Receipt, read_receipt
from farfield.store.review import Clip, read_package
from farfield.store.settings import Settings
from farfield.store.store import Store
from farfield.store.utterance import Utterance

__all__ = [
    "PURPOSES",
    "Clip",
    "Consent",
    "Policy",
    "Receipt",
    "Settings",
    "Store",
    "Utterance",
    "read_package",
    "read_receipt",
]
