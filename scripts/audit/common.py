"""What the programs of the audit share: a table to read, a JSON file of the same values."""

import argparse
import json
import pathlib
import platform
import sys

PROGRAM = pathlib.Path(sys.argv[0]).stem


def parser(description):
    """Arguments of a program; every one of them writes what it found with --json."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--json", type=pathlib.Path, metavar="FILE", help="write the values there")
    return made


def table(header, rows):
    """Aligned columns; numbers with separators of thousands."""
    cells = [[text(cell) for cell in row] for row in [header, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for row in cells:
        first = row[0].ljust(widths[0])
        rest = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        print("  ".join([first, *rest]).rstrip())


def text(cell):
    if isinstance(cell, bool):
        return "yes" if cell else "no"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return f"{cell:,.4g}" if abs(cell) < 1000 else f"{cell:,.0f}"
    return str(cell)


def write(path, values, **about):
    """values: flat, key to number or truth. about: what they depend on besides the program."""
    if path is None:
        return
    document = {"program": PROGRAM, "python": platform.python_version(), **about, "values": values}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n")
