"""softsgx show: one enclave with its threads and its pages."""

import json
from pathlib import Path

import click

from softsgx.cli.options import platform_option
from softsgx.cli.tables import facts, page_table, printed, tcs_table
from softsgx.cli.watched import find, pages, rows
from softsgx.service.control import Operator


@click.command
@platform_option
@click.argument("enclave")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, directory: Path, enclave: str, as_json: bool) -> None:
    """Show an enclave: what it is, its TCSs and threads, its pages.

    ENCLAVE is an id that `softsgx ps` prints, a pid, or how MRENCLAVE begins.
    """
    with Operator(directory) as operator:
        ask = operator.ask
        row = find(enclave, rows(ask, "enclaves"))
        eid = row["eid"]
        shown = {
            **row,
            "threads": rows(ask, "threads", eid=eid),
            "pages": pages(ask, eid),
        }
    if as_json:
        print(json.dumps(shown, indent=2))
        return
    for name, value in facts(row):
        print(f"{name:12} {value}")
    print()
    printed(tcs_table(shown["threads"]))
    print()
    printed(page_table(shown["pages"]))
