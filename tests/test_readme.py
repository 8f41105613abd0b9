"""The documents' code runs, prints what they say it prints, and names commands that exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
FENCE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DOCUMENTS = (
    "README.md",
    "docs/ckks.md",
    "docs/functions.md",
    "docs/numpy.md",
    "docs/training.md",
)
PRINTED = re.compile(r"^\s*print\(.*\)  # (.*)$", re.MULTILINE)


def python_blocks(document: str) -> list[tuple[int, str]]:
    """Return the line number and the text of each fenced Python block."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return [(text.count("\n", 0, m.start()) + 1, m.group(1)) for m in FENCE.finditer(text)]


BLOCKS = [
    pytest.param(document, line, source, id=f"{document}:{line}")
    for document in DOCUMENTS
    for line, source in python_blocks(document)
]


@pytest.mark.parametrize(("document", "line", "source"), BLOCKS)
def test_block_prints_what_its_comments_say(
    document: str, line: int, source: str, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace: dict[str, Any] = {"__name__": "readme"}
    padded = "\n" * line + source  # a traceback then shows the document's own line numbers
    exec(compile(padded, str(ROOT / document), "exec"), namespace)
    expected = PRINTED.findall(source)
    assert expected, "a block that prints nothing shows nothing"
    assert capsys.readouterr().out.splitlines() == expected


def test_first_block_ends_by_line_30() -> None:
    line, source = python_blocks("README.md")[0]
    assert line + source.count("\n") + 1 <= 30


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_named_make_targets_exist(document: str) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE))
    assert named
    assert named <= targets


@pytest.mark.parametrize("document", ["README.md", "CONTRIBUTING.md"])
def test_linked_files_exist(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    linked = re.findall(r"\]\((?!https?://)([^)#]+)\)", text)
    missing = [target for target in linked if not (ROOT / target).exists()]
    assert missing == []
