"""The modules that docs/extending.md shows: what the page says works is what the tests run."""

import re
from pathlib import Path

_PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


def module(name: str) -> str:
    """Return the source of the module ``name`` on the page, which begins with its file's name."""
    blocks = re.findall(r"```python\n(.*?)```", _PAGE.read_text(), re.DOTALL)
    [source] = [block for block in blocks if block.startswith(f"# {name}.py")]
    return str(source)
