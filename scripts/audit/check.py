"""Runs again what a row of the audit rests on, and compares with what the row states.

    python3 scripts/audit/check.py layer-218kb        one claim
    python3 scripts/audit/check.py                    every claim
    python3 scripts/audit/check.py --needs nothing --needs kvgauge    what ctest runs

Exit 0: all agree; 1: something differs; 2: nothing could be run here.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import claims


def arguments(document):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("claims", nargs="*", metavar="CLAIM", help="ids; none: all")
    parser.add_argument("--kvgauge", default="build/cpu/kvgauge", help="the program")
    needs = sorted({program["needs"] for program in document["programs"].values()})
    parser.add_argument("--needs", choices=needs, action="append",
                        help="only programs that need this")
    args = parser.parse_args()
    known = [claim["id"] for claim in document["claim"]]
    for name in args.claims:
        if name not in known:
            sys.exit(f"check: no such claim {name}; known: {', '.join(known)}")
    return args


def run(name, program, kvgauge, folder):
    """True where the program ran. It says itself why it could not."""
    script = pathlib.Path(__file__).parent / f"{name}.py"
    command = [sys.executable, str(script), "--json", str(folder / f"{name}.json")]
    if program.get("takes_kvgauge"):
        command += ["--kvgauge", kvgauge]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        lines = done.stdout.strip().splitlines() or ["no message"]
        print(f"not run: {name}: {lines[-1]}")
    return done.returncode


def compare(claim, entry, folder):
    try:
        found = claims.recorded(entry, folder)
    except claims.Broken as error:
        print(f"DIFFERS  {claim['id']}: {error}")
        return False
    good = claims.agrees(entry, found)
    print(f"{'ok     ' if good else 'DIFFERS'}  {claim['id']}: {entry['what']}: "
          f"stated {entry['value']}, found {found}")
    return good


def main():
    document = claims.load()
    args = arguments(document)
    chosen = [claim for claim in document["claim"] if not args.claims or claim["id"] in args.claims]
    entries = [(claim, entry) for claim in chosen for entry in claim["measured"]
               if "program" in entry and not claims.pending(entry)]
    ran, good = {}, True
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for claim, entry in entries:
            program = document["programs"][entry["program"]]
            if args.needs and program["needs"] not in args.needs:
                continue
            if entry["program"] not in ran:
                ran[entry["program"]] = run(entry["program"], program, args.kvgauge, folder)
            if ran[entry["program"]] == 0:
                good &= compare(claim, entry, folder)
    if any(code not in (0, 2) for code in ran.values()):
        good = False  # a program that fails, not one that lacks a GPU
    if not any(code == 0 for code in ran.values()):
        print("check: nothing could be run")
        sys.exit(2 if good else 1)
    sys.exit(0 if good else 1)


main()
