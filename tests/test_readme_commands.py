"""Every command that the documents show is found, and is run by readme_commands.py or listed there with the reason."""

from __future__ import annotations

import shlex

import pytest
import readme_commands
from readme_commands import LISTED, commands, shown, stale

DOCUMENT = """\
# Title

Say `run a=1` or
`recipe
check x`, not `run` or `steps=3`. A `cd x` is nobody's. | `recipe replay A \\| B` |

```sh
run seed=1    # a comment
# nothing
run 'prompt=a # b' \\
    seed=2
head$ ray stop
```

```yaml
# run recipe=mine
prompt: run seed=9
```

```
$ run wrong=1
run: said
```
"""


def test_commands_are_found_where_readers_find_them() -> None:
    assert [(one.line, one.text) for one in commands(DOCUMENT)] == [
        (3, "run a=1"),
        (4, "recipe check x"),
        (5, "recipe replay A | B"),
        (8, "run seed=1"),
        (10, "run 'prompt=a # b' seed=2"),
        (12, "ray stop"),
        (21, "run wrong=1"),
    ]


def test_a_command_that_a_document_gains_is_run(tmp_path, monkeypatch) -> None:
    (tmp_path / "README.md").write_text("```sh\nrun seed=1 no_such_key=2\n```\n")
    monkeypatch.setattr(readme_commands, "ROOT", tmp_path)
    monkeypatch.setattr(readme_commands, "documents", lambda: [tmp_path / "README.md"])
    (one,) = shown()
    assert one.text not in LISTED
    assert len(stale()) == len(LISTED), "and what is shown no more is told"


def test_nothing_is_listed_that_no_document_shows() -> None:
    assert stale() == []
    assert len(shown()) >= 40


MADE_THERE = ("recipe=mine", ".yaml")  # of files that only the clone of readme_commands.py has


@pytest.mark.parametrize(
    "text",
    [
        one.text
        for one in shown()
        if one.text.startswith("run ") and one.text not in LISTED and not any(word in one.text for word in MADE_THERE)
    ],
)
def test_a_run_that_is_shown_is_sound(here, text: str) -> None:
    code, _, err = here.run(*shlex.split(text, comments=True)[1:], "--cfg", "job")
    assert (code, err) == (0, "")
