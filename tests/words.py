"""
The retired words of docs/glossary.md: where they are used, ``python -m tests.words [PATH …]``.

In Python the words of each identifier are checked, and every comment and string; in other files the whole text. Words
of the vendor or of Airflow are quoted in ``QUOTES``.
"""

from __future__ import annotations

import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: What to write instead -> the retired words, as a regular expression for whole words.
RETIRED = {
    "poll, search, read": r"looks?|looked|looking",
    "response": r"answers?|answered|answering|unanswered",
    "image": r"pictures?",
    "return, report, log, message": r"tells?|told|telling|says?|said|saying",
    "again": r"anew",
    "timeout": r"patience|patient|patiently|impatient",
    "rate limit, rate limiter": r"gates?|knocks?|knocked|knocking",
    "resolve": r"settles?|settled|settling",
    "redact": r"blots?|blotted|presentable",
    "is not a": r"(?<!there )is no(?! longer| more)",
    "deliver": r"hand(?:s|ed|ing)? (?:over|on)",
    "tolerate": r"borne",
    "retry": r"mends?|mended|mending",
    "extension": r"endings?",
    "validate, verify, show": r"proves?|proved|proven|proving|proofs?",
}
#: Retired as a part of identifiers only.
IN_NAMES = {"note", "notes", "noted", "gone", "bare", "thing", "things", "knows"}

TEXT = re.compile("|".join(rf"\b(?:{words})\b" for words in RETIRED.values()), re.IGNORECASE)
SUFFIXES = {".py", ".md", ".html", ".js", ".css", ".toml", ".yml", ".yaml", ".svg", ".txt"}
NAMES = {"Makefile", "run"}
#: Files that are about the words themselves, or are made elsewhere.
SKIPPED = {"tests/words.py", "tests/test_words.py", "docs/glossary.md", "constraints.txt"}
#: Names of the vendor, of Airflow or of Python, exactly.
QUOTES = ("target.tell()",)


def files(paths: Iterable[str] = (), *, root: Path = ROOT) -> list[Path]:
    """The text files of the repository at or below these paths."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "--", *paths],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    found = [Path(name) for name in listed.stdout.splitlines() if name not in SKIPPED]
    return [path for path in found if (root / path).is_file() and (path.suffix in SUFFIXES or path.name in NAMES)]


def retired_in(path: Path, *, root: Path = ROOT) -> Iterator[tuple[int, str]]:
    """Line and word of everything retired in a file."""
    text = (root / path).read_text(encoding="utf-8")
    for quote in QUOTES:
        text = text.replace(quote, " " * len(quote))
    for number, line in enumerate(text.splitlines(), 1):
        for found in TEXT.finditer(line):
            yield number, found[0]
    if path.suffix == ".py":
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.NAME:
                yield from ((token.start[0], word) for word in _words_of_name(token.string))


def _words_of_name(name: str) -> Iterator[str]:
    parts = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)
    for part in parts:
        if part.lower() in IN_NAMES or (part != name and TEXT.fullmatch(part)):
            yield f"{part} in {name}"


def main(paths: list[str]) -> int:
    """List what is there, and count it."""
    found = 0
    for path in files(paths):
        for number, word in retired_in(path):
            print(f"{path}:{number}: {word}")
            found += 1
    print(f"{found} retired words")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
