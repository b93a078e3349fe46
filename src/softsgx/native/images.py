"""The images that are built with the package: the agent and our vDSO."""

import os

HERE = os.path.dirname(__file__)  # noqa: PTH120 -- pathlib is slow to import


class NotBuilt(Exception):  # noqa: N818 -- says what to do
    """The C part is missing: never built, of an older commit, of another machine."""


class Images:
    """The agent and the vDSO image, and the addresses in them that matter."""

    def __init__(self) -> None:
        self.agent = _built("agent.bin")
        self.vdso = _built("vdso.bin")
        # {"name": "0x..", ...}; json takes longer to import than all this.
        words = _built("images.json").decode().split('"')[1::2]
        known = dict(zip(words[::2], words[1::2], strict=True))
        self.data = int(known["A"], 16)
        self.enclu = int(known["sgx_enclu"], 16)
        self.fault = int(known["sgx_fault"], 16)
        self.restorer = int(known["sgx_restorer"], 16)
        self.slots = int(known["vdso_slots"], 16)


def _built(name: str) -> bytes:
    try:
        with open(f"{HERE}/{name}", "rb") as file:  # noqa: PTH123 -- as above
            return file.read()
    except FileNotFoundError as error:
        raise NotBuilt(f"{error.filename} is not built: run `make build`") from error


_images: list[Images] = []


def images() -> Images:
    """Load the images that were built with the package."""
    if not _images:
        _images.append(Images())
    return _images[0]
