"""The house in numbers: lines of code, and circles among the imports. `python tests/house.py` prints both.

A line of code is one with a token on it that is neither a comment nor part of a docstring. Imports count wherever they
stand: at the top, inside a function, or for type checking alone.
"""

from __future__ import annotations

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("components", "runner")
NOT_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENCODING,
    tokenize.ENDMARKER,
}


def files() -> list[Path]:
    """Every Python file of the house."""
    return sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def code_lines(source: str) -> int:
    """Lines of a module without its docstrings, comments and blanks."""
    tree, docs = ast.parse(source), set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        for statement in body if isinstance(body, list) else ():
            value = statement.value if isinstance(statement, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                docs |= set(range(statement.lineno, (statement.end_lineno or 0) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in NOT_CODE:
            lines |= set(range(token.start[0], token.end[0] + 1))
    return len(lines - docs)


def module_name(path: Path) -> str:
    """`runner.plan` of runner/plan.py; a package by its own name."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports() -> dict[str, set[str]]:
    """Module → the modules of the house that it imports, anywhere in it."""
    names = {module_name(path) for path in files()}
    return {module_name(path): set(_imported(path, names)) - {module_name(path)} for path in files()}


def _imported(path: Path, names: set[str]) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                found = inner if inner in names else node.module
                if found in names:
                    yield found


def circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Groups of modules each of which reaches every other (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


if __name__ == "__main__":
    total = sum(code_lines(path.read_text(encoding="utf-8")) for path in files())
    print(f"{total:,} lines of code in {len(files())} files of {' and '.join(ROOMS)}")
    for circle in circles(imports()):
        print("circle:", ", ".join(circle))
