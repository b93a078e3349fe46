"""What can be wrong with a platform."""


class PlatformError(Exception):
    """A platform that cannot be made, read or used; the message is for its owner."""
