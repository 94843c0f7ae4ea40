"""Reads claims.toml and says whether what it states is what was measured. No packages needed."""

import csv
import functools
import json
import pathlib
import tomllib
from decimal import Decimal

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "reports" / "published" / "coda-claims"
CLAIM_KEYS = {"id", "group", "published", "claim", "sources", "reproduced_by", "verdict", "scale",
              "note", "measured"}
MEASURED_KEYS = {"what", "program", "csv", "where", "column", "key", "value", "unit", "factor",
                 "interval", "seed_interval"}
# Of entries with a CSV: its columns, and what an interval is over.
INTERVALS = {"interval": ("low", "high", "items"),
             "seed_interval": ("seed_low", "seed_high", "training seeds")}


class Broken(Exception):
    """One line: where, and what is wrong."""


def load():
    with open(FOLDER / "claims.toml", "rb") as file:
        document = tomllib.load(file)
    seen = set()
    for claim in document["claim"]:
        where = f"claims.toml: {claim.get('id', 'a claim without id')}"
        unknown = set(claim) - CLAIM_KEYS
        missing = CLAIM_KEYS - {"note"} - set(claim)
        if unknown or missing:
            raise Broken(f"{where}: unknown {sorted(unknown)}, missing {sorted(missing)}")
        if claim["id"] in seen:
            raise Broken(f"{where}: stated twice")
        seen.add(claim["id"])
        if claim["verdict"] not in document["verdicts"]:
            raise Broken(f"{where}: verdict: found {claim['verdict']}, "
                         f"expected one of {', '.join(document['verdicts'])}")
        for source in claim["sources"]:
            if source not in document["sources"]:
                raise Broken(f"{where}: sources: no such source {source}")
        for entry in claim["measured"]:
            check_entry(document, where, entry)
    return document


def check_entry(document, where, entry):
    unknown = set(entry) - MEASURED_KEYS
    if unknown or "what" not in entry:
        raise Broken(f"{where}: measured: found {sorted(entry)}, expected {sorted(MEASURED_KEYS)}")
    if ("program" in entry) == ("csv" in entry):
        raise Broken(f"{where}: {entry['what']}: expected a program or a csv")
    if "program" in entry and entry["program"] not in document["programs"]:
        raise Broken(f"{where}: {entry['what']}: no such program {entry['program']}")
    for name in INTERVALS:
        if name in entry and ("csv" not in entry or len(entry[name]) != 2):
            raise Broken(f"{where}: {entry['what']}: {name}: expected two values, of a csv")


def pending(entry):
    return "value" not in entry


def recorded(entry, folder=FOLDER / "measured"):
    """What the record says where the entry points."""
    if "csv" in entry:
        return from_csv(entry, entry["column"])
    path = folder / f"{entry['program']}.json"
    try:
        values = json.loads(path.read_text())["values"]
    except FileNotFoundError:
        raise Broken(f"{entry['what']}: no record {path.name}") from None
    if entry["key"] not in values:
        raise Broken(f"{entry['what']}: {path.name} has no {entry['key']}")
    return values[entry["key"]]


@functools.cache
def rows_of(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def from_csv(entry, column):
    rows = [row for row in rows_of(FOLDER / entry["csv"])
            if all(row.get(key) == str(value) for key, value in entry["where"].items())]
    if len(rows) != 1:
        raise Broken(f"{entry['what']}: {entry['csv']}: found {len(rows)} rows, expected 1")
    if not rows[0][column]:
        raise Broken(f"{entry['what']}: {entry['csv']}: nothing in {column}")
    return float(rows[0][column])


def agrees(entry, found):
    """Equal to the digits that are stated, or, for times, within the factor that is stated."""
    stated = entry["value"]
    if isinstance(stated, bool) or isinstance(found, bool):
        return stated is found
    if "factor" in entry:
        return stated / entry["factor"] <= found <= stated * entry["factor"]
    half_digit = Decimal(1).scaleb(Decimal(repr(stated)).as_tuple().exponent) / 2
    return abs(Decimal(repr(found)) - Decimal(repr(stated))) <= half_digit
