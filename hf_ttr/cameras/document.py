"""A YAML file as values, with the line and the column of each, and everything that is wrong with it as YAML."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode
from ruamel.yaml.reader import ReaderError

from ..display import shown
from .environment import fill_in, template
from .problems import KeyPath, Problem, key_text
from .secrets import FromEnvironment


MOST_VALUES = 100_000
"""Aliases make few lines many values; there are no more than these."""

_TAG = "tag:yaml.org,2002:"
_MERGE = f"{_TAG}merge"
_SCALARS = {
    f"{_TAG}null": "nothing",
    f"{_TAG}bool": "true or false",
    f"{_TAG}int": "a whole number",
    f"{_TAG}float": "a number",
}
_COLLECTIONS = {f"{_TAG}{name}" for name in ("map", "seq")}
_TEXTS = {f"{_TAG}{name}" for name in ("str", "timestamp", "value")}


@dataclass
class Document:
    """
    What stands in a file of settings.

    Attributes:
        values: mappings, lists, texts, numbers, truth values and `None`. Texts have the variables of the environment
            filled in, and hide them.
        keys, places: line and column of each key and of each value, counted from 1.
        problems: what is wrong already.
        unknown: the ways to values that are not known, because of one of these problems.
    """

    values: Any = None
    keys: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)
    places: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    unknown: set[KeyPath] = field(default_factory=set)

    def add(self, path: KeyPath, place: tuple[int, int], predicate: str) -> None:
        """Adds a problem: what is said of a value, or of the file where there is no way to go."""
        key = key_text(path)
        self.problems.append(Problem(*place, key, f"{key or 'the file'} {predicate}"))


class NotYaml(ValueError):
    """A text is not YAML at all; the problem says where that shows."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.sentence)
        self.problem = problem


def read_document(text: str, environment: Mapping[str, str]) -> Document:
    """
    Reads a text as YAML 1.2.

    Args:
        text (`str`): of the file.
        environment (`Mapping[str, str]`): the variables that it may name.

    Returns:
        `Document`

    Raises:
        NotYaml: if it is none.
    """
    yaml = YAML(typ="safe", pure=True)
    try:
        root = yaml.compose(text)
        document = Document()
        if root is not None:
            document.values = _Values(document, environment, yaml.constructor).of(root, ())
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line, mark.column) if mark is not None else (0, 0)
        raise NotYaml(Problem(line + 1, column + 1, "", _not_yaml(error, text, line))) from None
    except ReaderError as error:
        line, column = text.count("\n", 0, error.position), error.position - text.rfind("\n", 0, error.position)
        sentence = "the file has a control character here; remove it, or write it as an escape in quotes."
        raise NotYaml(Problem(line + 1, column, "", sentence)) from None
    except (YAMLError, RecursionError):
        raise NotYaml(Problem(1, 1, "", "the file is nested too deeply; write it with fewer levels.")) from None
    return document


def _not_yaml(error: MarkedYAMLError, text: str, line: int) -> str:
    # What is quoted may be a password that begins with a * or a !.
    why = re.sub(r"'([^']*)'|\"([^\"]*)\"", _quoted, str(error.problem or error.context or "unknown"))
    lines = text.splitlines()
    written = lines[line] if line < len(lines) else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        help_ = "indent with spaces in place of tabs"
    elif "${" in written:
        help_ = "put the value with ${...} in quotes"
    else:
        help_ = "look at the indentation, colons and quotes here and in the line above"
    return f"the file is not YAML: {shown(why)}; {help_}."


def _quoted(found: re.Match[str]) -> str:
    inner = found[1] or found[2] or ""
    return found[0] if len(inner) < 2 or inner.startswith("<") else "what stands here"


class _Values:
    """Makes values of nodes, and notes where they stand."""

    def __init__(self, document: Document, environment: Mapping[str, str], constructor: Any) -> None:
        self._document = document
        self._environment = environment
        self._constructor = constructor
        self._open: set[int] = set()
        self._count = 0

    def of(self, node: Node, path: KeyPath) -> Any:
        """The value of a node."""
        self._document.places[path] = _place(node)
        with self._entered(node, path):
            if not isinstance(node, ScalarNode) and node.tag not in _COLLECTIONS:
                return self._unknown(node, path, "has a tag with !, which is not known; take it out.")
            if isinstance(node, MappingNode):
                values: dict[str, Any] = {}
                for name, (key, value) in self._pairs(node, path).items():
                    own = (*path, name)
                    self._document.keys[own] = _place(key)
                    values[name] = self.of(value, own)
                    if value.value == "":  # nothing is there; the place would be in another line
                        self._document.places[own] = _place(key)
                return values
            if isinstance(node, SequenceNode):
                return [self.of(child, (*path, index)) for index, child in enumerate(node.value)]
            assert isinstance(node, ScalarNode)
            return self._scalar(node, path)

    @contextmanager
    def _entered(self, node: Node, path: KeyPath) -> Iterator[None]:
        """Looks whether there is an end to it."""
        self._count += 1
        if id(node) in self._open or self._count > MOST_VALUES:
            key = key_text(path) or "the file"
            why = "contains itself" if id(node) in self._open else f"makes more than {MOST_VALUES} values"
            raise NotYaml(Problem(*_place(node), key, f"{key} {why}; write out what the aliases stand for."))
        self._open.add(id(node))
        yield
        self._open.discard(id(node))

    def _pairs(self, node: MappingNode, path: KeyPath) -> dict[str, tuple[Node, Node]]:
        """Keys and values by name: those of the mapping itself, then those that it takes over with `<<`."""
        pairs: dict[str, tuple[Node, Node]] = {}
        inherited: list[Node] = []
        for key, value in node.value:
            if key.tag == _MERGE:
                inherited += value.value if isinstance(value, SequenceNode) else [value]
            elif not isinstance(key, ScalarNode):
                self._document.add(path, _place(key), "has a key that is a list or a mapping; use a word.")
            elif (name := str(key.value)) in pairs:  # a camera may be called 1, or on
                line, _ = _place(pairs[name][0])
                why = f"is there twice, also in line {line}; rename or remove one of them."
                self._document.add((*path, name), _place(key), why)
            else:
                pairs[name] = key, value
        for one in inherited:
            if not isinstance(one, MappingNode):
                self._document.add(path, _place(one), "has a << that is no mapping; name the anchor of one.")
                continue
            with self._entered(one, path):
                pairs = self._pairs(one, path) | pairs
        return pairs

    def _scalar(self, node: ScalarNode, path: KeyPath) -> Any:
        if node.tag in _SCALARS:
            try:
                return self._constructor.construct_object(node)
            except (ValueError, LookupError):
                what = f"must be {_SCALARS[node.tag]}, as it is written or tagged; correct it, or put it in quotes."
                return self._unknown(node, path, what)
        if node.tag not in _TEXTS:
            return self._unknown(node, path, "has a tag with !, which is not known; put the value in quotes.")
        text = str(node.value)
        try:
            return fill_in(text, self._environment)
        except ValueError as error:
            self._document.unknown.add(path)
            self._document.add(path, _place(node), str(error))
            return FromEnvironment(text, template(text))

    def _unknown(self, node: Node, path: KeyPath, predicate: str) -> None:
        """Notes why the value of a node is not known."""
        self._document.unknown.add(path)
        self._document.add(path, _place(node), predicate)


def _place(node: Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1
