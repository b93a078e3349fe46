"""softsgx show: one enclave with its threads and its pages."""

import json
from pathlib import Path

import click

from softsgx.cli.options import platform_option
from softsgx.cli.tables import facts, page_table, printed, tcs_table
from softsgx.cli.watched import find, operator, pages, rows


@click.command
@platform_option
@click.argument("enclave")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(*, directory: Path, enclave: str, as_json: bool) -> None:
    """Show an enclave: what it is, its TCSs with the threads inside, its pages.

    ENCLAVE is an id that `softsgx ps` prints, a pid, or how MRENCLAVE begins.
    """
    with operator(directory) as ask:
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
