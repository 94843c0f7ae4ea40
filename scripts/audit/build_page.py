"""Makes reports/published/coda-claims/README.md from claims.toml and the records in measured/.

    python3 scripts/audit/build_page.py            writes the page
    python3 scripts/audit/build_page.py --check    fails unless the page is what would be written

Fails where a stated value is not the recorded one, and where a value is still missing unless
--allow-missing. Needs no packages.
"""

import argparse
import sys

import claims


def anchor(heading):
    """What the page's heading is linked by: as renderers of Markdown make it."""
    return "".join(c for c in heading if c.isalnum() or c in "-_")


def number(value, unit=""):
    if isinstance(value, bool):
        return "yes" if value else "no"
    text = f"{value:,}" if isinstance(value, int) else f"{value:,.10g}"
    return f"{text}{unit}" if unit in ("x", "%") else f"{text} {unit}".strip()


def verify(document, allow_missing):
    """Every complaint at once: a reader mends them together."""
    complaints = []
    for claim in document["claim"]:
        for entry in claim["measured"]:
            if claims.pending(entry):
                if not allow_missing:
                    complaints.append(f"{claim['id']}: {entry['what']}: not yet measured")
                continue
            try:
                found = claims.recorded(entry)
                complaints += bad_intervals(claim, entry)
            except (claims.Broken, OSError, KeyError) as error:
                complaints.append(f"{claim['id']}: {error}")
                continue
            if not claims.agrees(entry, found):
                complaints.append(f"{claim['id']}: {entry['what']}: states {entry['value']}, "
                                  f"recorded is {found}")
    return complaints


def bad_intervals(claim, entry):
    for name, (*columns, _) in claims.INTERVALS.items():
        for stated, column in zip(entry.get(name, []), columns):
            found = claims.from_csv(entry, column)
            if not claims.agrees({"value": stated}, found):
                yield (f"{claim['id']}: {entry['what']}: {column} states {stated}, "
                       f"recorded is {found}")


def measured_lines(claim):
    for entry in claim["measured"]:
        value = ("*not yet measured*" if claims.pending(entry)
                 else f"**{number(entry['value'], entry.get('unit', ''))}**")
        for name, (*_, over) in claims.INTERVALS.items():
            if name in entry:
                low, high = (number(bound) for bound in entry[name])
                value += f" (95 % over {over}: {low} to {high})"
        source = f"`{entry['program']}`" if "program" in entry else f"[CSV]({entry['csv']})"
        yield f"* {entry['what']}: {value} ({source})"


def section(document, claim):
    sources = "; ".join(document["sources"][name]["short"] for name in claim["sources"])
    lines = [f"### {claim['id']}", "",
             f"**Published.** {claim['claim']} ({sources})", "",
             f"**What gives this number.** {claim['reproduced_by']}", "",
             "**Computed or measured here.**", "", *measured_lines(claim), "",
             f"**Holds at.** {claim['scale']}", "",
             f"**Verdict.** {claim['verdict']}." + (f" {claim['note']}" if "note" in claim else ""),
             ""]
    programs = [entry["program"] for entry in claim["measured"] if "program" in entry]
    if programs:
        lines += [f"    python3 scripts/audit/check.py {claim['id']}", ""]
    return lines


def page(document):
    lines = ["<!-- Written by scripts/audit/build_page.py from claims.toml: edit that. -->",
             "# CoDA-GQA-L: claimed and measured", "", document["introduction"].strip(), "",
             "## Verdicts", "", "| verdict | means |", "|---|---|"]
    lines += [f"| {name} | {meaning} |" for name, meaning in document["verdicts"].items()]
    lines += ["", "## Summary", "", "| claim | published | verdict |", "|---|---|---|"]
    for claim in document["claim"]:
        lines.append(f"| [{claim['id']}](#{anchor(claim['id'])}) | {claim['published']} | "
                     f"{claim['verdict']} |")
    for group in document["groups"]:
        lines += ["", f"## {group}", ""]
        for claim in document["claim"]:
            if claim["group"] == group:
                lines += section(document, claim)
    lines += ["## Programs", "", "| program | shows | needs |", "|---|---|---|"]
    lines += [f"| `scripts/audit/{name}.py` | {program['shows']} | {program['needs']} |"
              for name, program in document["programs"].items()]
    lines += ["", "## Sources", ""]
    lines += [f"* **{source['short']}**: {source['full']}"
              for source in document["sources"].values()]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, compare")
    parser.add_argument("--allow-missing", action="store_true", help="values not yet measured pass")
    args = parser.parse_args()
    try:
        document = claims.load()
    except claims.Broken as error:
        sys.exit(f"build_page: {error}")
    complaints = verify(document, args.allow_missing)
    if complaints:
        sys.exit("\n".join(f"build_page: {complaint}" for complaint in complaints))
    target = claims.FOLDER / "README.md"
    text = page(document)
    if not args.check:
        target.write_text(text)
    elif not target.is_file() or target.read_text() != text:
        sys.exit("build_page: README.md is not what claims.toml gives; "
                 "run scripts/audit/build_page.py")


if __name__ == "__main__":
    main()
