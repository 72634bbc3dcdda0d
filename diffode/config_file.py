"""A file of options: TOML, YAML or JSON, read within limits."""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from diffode.inputs import brief, quoted, read_text

SUFFIXES = (".toml", ".yaml", ".yml", ".json")
LONGEST = 2**18  # bytes of a configuration, at most


def read_config(path: str | Path) -> dict[str, Any]:
    """The keywords in a file, not checked yet.

    Raises:
        ValueError: no such file, an unknown suffix, more than 256 KiB, or text that does not parse
            to a table; of YAML, a key given twice or an alias.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"got {path}; wanted a file that ends in one of {', '.join(SUFFIXES)}")
    parse: Callable[[str], Any] = tomllib.loads if path.suffix == ".toml" else _parse_yaml
    text = read_text(path, LONGEST)
    try:
        content = parse(text)
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path} does not parse: {brief(str(error))}") from None
    except RecursionError:
        raise ValueError(f"{path} does not parse: its values are nested too deeply") from None
    except _NotParsed as error:
        raise ValueError(f"{path} does not parse: {error}") from None
    except ValueError:
        raise ValueError(f"{path} does not parse: it has a value that cannot be read") from None
    if not isinstance(content, dict) or not all(isinstance(key, str) for key in content):
        raise ValueError(f"{path} holds no table of options; wanted names and values, as lr: 2e-3")
    return content


def dump(content: dict[str, Any]) -> str:
    """A configuration as YAML, without aliases."""
    import yaml

    class Plain(yaml.SafeDumper):  # type: ignore[misc]  # yaml has no types
        def ignore_aliases(self, data: object) -> bool:
            return True

    text: str = yaml.dump(content, Dumper=Plain, sort_keys=False, default_flow_style=None)
    return text


class _NotParsed(ValueError):
    """Why a text is no YAML that is taken here."""


def _parse_yaml(text: str) -> Any:  # noqa: ANN401
    import yaml

    try:
        return yaml.load(text, _loader())  # safe: below SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = "" if mark is None else f" (line {mark.line + 1}, column {mark.column + 1})"
        raise _NotParsed(f"{brief(error.problem or 'not YAML')}{where}") from None
    except yaml.YAMLError:
        raise _NotParsed("it has characters that YAML does not allow") from None


@cache
def _loader() -> Any:  # noqa: ANN401
    """The safe loader without what makes a short text long: aliases; and each key only once."""
    import yaml

    class Plain(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
        def compose_node(self, parent: object, index: object) -> Any:  # noqa: ANN401
            if self.check_event(yaml.AliasEvent):
                event = self.peek_event()
                said = f"the alias *{brief(event.anchor, 40)} is not taken; write the value out"
                raise yaml.composer.ComposerError(None, None, said, event.start_mark)
            return super().compose_node(parent, index)

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:  # noqa: ANN401
            keys = [(k.tag, k.value) for k, _ in node.value if isinstance(k.value, str)]
            if len(set(keys)) < len(keys):
                twice = quoted(Counter(keys).most_common(1)[0][0][1])
                said = f"the key {twice} is given twice"
                raise yaml.constructor.ConstructorError(None, None, said, node.start_mark)
            return super().construct_mapping(node, deep)

    return Plain
