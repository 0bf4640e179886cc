"""Find every command that the documentation gives, and make of it what a shell can run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = (
    *sorted((ROOT / 'docs').glob('*.rst')),
    ROOT / 'README.md',
    ROOT / 'CONTRIBUTING.rst',
    ROOT / 'CHANGES.rst',
    ROOT / 'Dockerfile',
    ROOT / 'Singularity.def',
)
SHELLS = ('sh', 'shell', 'bash', 'console')
OURS = (
    'bidsharmony',
    'bidsharmony-docker',
    'bidsharmony-phantom',
    'bidsharmony-train',
    'make',
    'pip',
    'python',
)
"""Programs whose command lines stand within sentences, too."""

PLACEHOLDERS = {
    'BIDS_DIR': '/data/study',
    'OUTPUT_DIR': '/data/out',
    'BIDS': '/data/study',
    'OUT': '/data/out',
    'FILE:COLUMN': 'participants.tsv:site',
}
"""What a reader puts in the place of a word in capitals, where a file must be there."""


@dataclass(frozen=True)
class Block:
    """Commands that are to be given one after the other in one shell."""

    page: str
    line: int
    text: str

    @property
    def name(self) -> str:
        """Say where it stands."""
        return f'{self.page}:{self.line}'


def blocks() -> list[Block]:
    """Collect the commands of all pages."""
    return [block for path in PAGES for block in blocks_of(path)]


def blocks_of(path: Path) -> list[Block]:
    """Collect the commands of one page: its blocks, and those within its sentences."""
    text = path.read_text(encoding='utf-8')
    name = path.relative_to(ROOT).as_posix()
    collect = {'.md': _fenced, '.rst': _indented}.get(path.suffix, _commented)
    found = [Block(name, line, runnable(code)) for line, code in collect(text)]
    if path.suffix == '.rst':
        spoken = rf'``((?:{"|".join(OURS)}) [^`]+)``'
        for match in re.finditer(spoken, text):
            line = text.count('\n', 0, match.start()) + 1
            found.append(Block(name, line, runnable(' '.join(match[1].split()))))
    return found


def _indented(text: str) -> list[tuple[int, str]]:
    """Find code blocks of reStructuredText.

    Examples
    --------
    >>> _indented('Do\\n\\n.. code-block:: sh\\n\\n   a \\\\\\n       b\\n\\nand so on')
    [(3, 'a \\\\\\n    b')]
    """
    pattern = rf'^( *)\.\. code-block:: (?:{"|".join(SHELLS)})\n((?:\n|\1 +\S.*(?:\n|$))+)'
    return [
        (text.count('\n', 0, match.start()) + 1, _dedented(match[2]))
        for match in re.finditer(pattern, text, re.MULTILINE)
    ]


def _fenced(text: str) -> list[tuple[int, str]]:
    """Find code blocks of Markdown.

    Examples
    --------
    >>> _fenced('Do\\n\\n```sh\\na\\n```\\n\\n```python\\nb\\n```\\n')
    [(3, 'a')]
    """
    pattern = rf'^```(?:{"|".join(SHELLS)})\n(.*?)^```$'
    return [
        (text.count('\n', 0, match.start()) + 1, match[1].strip('\n'))
        for match in re.finditer(pattern, text, re.MULTILINE | re.DOTALL)
    ]


def _commented(text: str) -> list[tuple[int, str]]:
    """Find commands in the head of a recipe.

    Examples
    --------
    >>> _commented('FROM a\\n\\n# docker build .\\n# mkdir -p OUT\\n\\n# Why.\\n')
    [(3, 'docker build .\\nmkdir -p OUT')]
    """
    lines = text.splitlines()
    found = [
        (number, line.removeprefix('# '))
        for number, line in enumerate(lines, start=1)
        if re.match(r'# (apptainer|docker|mkdir) ', line)
    ]
    return [(found[0][0], '\n'.join(line for _, line in found))] if found else []


def _dedented(code: str) -> str:
    lines = code.strip('\n').splitlines()
    width = min(len(line) - len(line.lstrip()) for line in lines if line.strip())
    return '\n'.join(line[width:] for line in lines)


def runnable(code: str) -> str:
    """Turn what is shown into what can be run.

    Prompts go, and so do the brackets of what may be left out; placeholders get values.

    Examples
    --------
    >>> runnable('$ bidsharmony BIDS_DIR OUTPUT_DIR group [--audit quick]')
    'bidsharmony /data/study /data/out group --audit quick'
    """
    if re.search(r'^\$ ', code, re.MULTILINE):
        shown = code.splitlines()
        code = '\n'.join(line.removeprefix('$ ') for line in shown if line.startswith('$ '))
    code = re.sub(r'\[(--?[^\]]+)\]', r'\1', code)
    word = '|'.join(map(re.escape, sorted(PLACEHOLDERS, key=len, reverse=True)))
    return re.sub(rf'(?<![\w$/"-])({word})(?![\w/"])', lambda at: PLACEHOLDERS[at[1]], code)
