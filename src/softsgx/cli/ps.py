"""softsgx ps: the enclaves of a platform."""

import json
from pathlib import Path

import click

from softsgx.cli.options import platform_option
from softsgx.cli.tables import enclave_table, printed
from softsgx.cli.watched import rows
from softsgx.service.control import Operator


@click.command
@platform_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, directory: Path, as_json: bool) -> None:
    """List the enclaves of a platform that a daemon serves.

    INSIDE is the number of threads in an enclave.  Sizes are in bytes, K, M, G and T of
    1024; RESIDENT is what is in the EPC, EVICTED what is not.
    """
    with Operator(directory) as operator:
        found = rows(operator.ask, "enclaves")
    if as_json:
        print(json.dumps(found, indent=2))
        return
    printed(enclave_table(found))
