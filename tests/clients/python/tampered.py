"""Holds tools/verify_export.py to the list of tamperings that the crate's own tests made.

    python tampered.py DIR

DIR holds list.json and one bent export each, as `ledger::tests::tamperings` writes them. Each has to
be refused at the line at which the crate's verifier refuses it.
"""

import json
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "tools"))

import verify_export


def refused_at(file, keys):
    """The line and why; None when it verifies."""
    try:
        with file.open("rb") as lines:
            verify_export.verify(lines, keys)
    except verify_export.Wrong as wrong:
        place, why = str(wrong).split(": ", 1)
        return int(place[len("line "):]), why
    return None


def main():
    directory = pathlib.Path(sys.argv[1])
    listed = json.loads((directory / "list.json").read_text(encoding="utf-8"))
    keys = [verify_export.Key(text) for text in listed["keys"]]
    vectors = HERE.parents[1] / "vectors" / "ledger"
    genuine = sorted(vectors.glob("ok_export_*.jsonl"))
    for file in genuine:
        if refused_at(file, keys):
            sys.exit("%s: refused: %s" % (file.name, refused_at(file, keys)))
    wrong = 0
    for name, expected in listed["tamperings"].items():
        found = refused_at(directory / (name + ".jsonl"), keys)
        if found is None or found[0] != expected["line"]:
            print("%s: at %s, not at line %d (%s)"
                  % (name, found, expected["line"], expected["fault"]), file=sys.stderr)
            wrong += 1
    if wrong or not genuine:
        sys.exit("%d tamperings pass, or are refused at another line" % wrong)
    print("ok     %d tamperings are refused where the vault's own verifier refuses them"
          % len(listed["tamperings"]))


if __name__ == "__main__":
    main()
