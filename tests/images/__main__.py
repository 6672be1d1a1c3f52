"""``python -m tests.images FOLDER``: what the reader of images makes of all files of a folder."""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

from tests.images.survey import ACCEPTED, RAW, REFUSED, USES, Survey, files_in, survey


def main() -> int:
    """Print the table and return 1 if a file raises an error that is not of this package."""
    parser = argparse.ArgumentParser(prog="python -m tests.images", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("-v", "--verbose", action="store_true", help="print the verdicts of each file")
    options = parser.parse_args()
    if not options.folder.is_dir():
        parser.error(f"{options.folder} is not a folder")
    warnings.simplefilter("ignore")  # Pillow warns of damaged TIFF tags
    found = survey(files_in(options.folder))
    if options.verbose:
        for file in found.files:
            for verdict in file.verdicts:
                print(f"{file.path.relative_to(options.folder)}: {verdict.use}: {verdict.kind}: {verdict.text}")
        for file in found.wrong_extensions:
            print(f"{file.path.relative_to(options.folder)}: its format is {file.wrong_extension}")
    print(table(found))
    for path, verdict in found.raw_errors:
        print(f"{path.relative_to(options.folder)}: as {verdict.use}: {verdict.text}")
    return 1 if found.raw_errors else 0


def table(found: Survey) -> str:
    """Return the counts as a table."""
    rows: list[tuple[str, ...]] = [("as", ACCEPTED, REFUSED, f"{RAW}s")]
    rows += [(use, *(str(found.count(use, kind)) for kind in (ACCEPTED, REFUSED, RAW))) for use in USES]
    lines = ["  ".join(cell.ljust(10) for cell in row).rstrip() for row in rows]
    return "\n".join([*lines, f"{len(found.files)} files, {len(found.wrong_extensions)} with a wrong extension"])


if __name__ == "__main__":
    sys.exit(main())
