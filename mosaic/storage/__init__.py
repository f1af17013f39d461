"""The waist: every byte from storage bounded, cached, retried, counted."""

from mosaic.settings import CacheSettings, Limits, Retry
from mosaic.storage.answer import Meta
from mosaic.storage.credentials import S3Signer
from mosaic.storage.gate import Gate
from mosaic.storage.gates import chosen_gate, default_gate, gate_via, stats
from mosaic.storage.headers import Header
from mosaic.storage.metrics import OriginStats, Quota, Stats
from mosaic.storage.sign import CallableSigner, Token

__all__ = [
    "CacheSettings",
    "CallableSigner",
    "Gate",
    "Header",
    "Limits",
    "Meta",
    "OriginStats",
    "Quota",
    "Retry",
    "S3Signer",
    "Stats",
    "Token",
    "chosen_gate",
    "default_gate",
    "gate_via",
    "stats",
]
