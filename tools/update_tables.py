"""Write the tables of a Markdown file anew from the JSON files of the results."""

from __future__ import annotations

import argparse
from pathlib import Path

from mmbas.cli.command_line import checked_file, run_tool
from mmbas.experiments.result_tables import update_tables


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog="examples:\n  python tools/update_tables.py results/README.md",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", help="Markdown file with <!-- results: FOLDER --> <!-- end -->")
    parser.add_argument(
        "--results", metavar="DIR", help="holds the folders; default: that of the file"
    )
    parser.add_argument("--check", action="store_true", help="write nothing, fail if it differs")
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    path = Path(checked_file(args.file, "a Markdown file"))
    text = path.read_text(encoding="utf-8")
    updated = update_tables(text, Path(args.results) if args.results else path.parent)
    if args.check:
        if updated != text:
            raise ValueError(
                f"expected the tables of {path} to equal the results; run "
                f"python tools/update_tables.py {path}"
            )
        return
    path.write_text(updated, encoding="utf-8")


if __name__ == "__main__":
    run_tool(main)
