"""MACs under keys of the platform's, by which it knows what it wrote itself."""

import hashlib
import hmac
import json


class Seal:
    """One key, derived from the platform's seed by a *label*."""

    def __init__(self, label: bytes, seed: bytes):
        self._key = hashlib.sha256(label + seed).digest()

    def of(self, words: dict[str, object]) -> str:
        """Return the MAC of some words, in hex, whatever their order."""
        canonical = json.dumps(words, sort_keys=True).encode()
        return hmac.new(self._key, canonical, hashlib.sha256).hexdigest()

    def fits(self, words: dict[str, object], mac: object) -> bool:
        """Say whether a MAC is that of some words."""
        return hmac.compare_digest(str(mac), self.of(words))
