"""What docs/architecture.md says of the modules is so: they are all there, and import what they may."""

from __future__ import annotations

import ast
import importlib.util
import pkgutil
import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest

import hf_ttr


ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()
# The metrics are scripts that the package evaluate loads.
SCRIPTS = ("metrics.prediction_stability", "metrics.reuse_efficiency", "metrics.reuse_fidelity")
EVERY = sorted(
    name
    for module in pkgutil.walk_packages(hf_ttr.__path__, "hf_ttr.")
    if not (name := module.name.removeprefix("hf_ttr.")).startswith(SCRIPTS)
)
# The folder of a model stands for what is in it.
MODULES = [name for name in EVERY if not re.fullmatch(r"models\.\w+\.\w+", name)]
# They take what the package shows, or its version.
PUBLIC = ("hub.import_hf_ttr", "cli", "cameras.home_assistant", "evaluation", "cards.model_card", "streaming.engine")
POLICIES = ("planning.causal", "planning.bidirectional", "planning.runs")
METHODS = ("pruning", "run_length", "tome", "vid_tldr", "vidtome")


def groups() -> dict[str, int]:
    """The group of each module, as the page has it."""
    found: dict[str, int] = {}
    for number, section in re.findall(r"^### (\d)\. (.*?)(?=^###? |\Z)", PAGE, re.MULTILINE | re.DOTALL):
        for name in re.findall(r"^\| `([\w.]+)` \|", section, re.MULTILINE):
            assert name not in found, name
            found[name] = int(number)
    return found


def group_of(module: str) -> str:
    """What stands on the page for a module."""
    return module if module in MODULES else module.rpartition(".")[0]


def path_of(module: str) -> Path:
    path = ROOT / "hf_ttr" / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


@cache
def imports_of(module: str, inside_functions: bool = True) -> frozenset[str]:
    """The modules of the package that one imports; an empty name is the package itself."""
    path = path_of(module)
    package = path.parent.relative_to(ROOT).parts
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if inside_functions else at_loading(tree)
    found = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) + 1 - node.level]) if node.level else ""
            whole = ".".join(part for part in (base, node.module) if part)
            names = [f"{whole}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            if name == "hf_ttr" or name.startswith("hf_ttr."):
                found.add(known(name.removeprefix("hf_ttr").removeprefix(".")))
    return frozenset(found - {module})


def known(name: str) -> str:
    """The module in a name that ends with what is imported from it."""
    while name and name not in EVERY:
        name = name.rpartition(".")[0]
    return name


def at_loading(tree: ast.AST) -> list[ast.AST]:
    """The nodes of a module that run as it is loaded."""
    found: list[ast.AST] = []
    for node in ast.iter_child_nodes(tree):
        checked_alone = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not checked_alone:
            found += [node, *at_loading(node)]
    return found


def test_imports_are_found() -> None:
    assert {"execution.packed", "planning.plan", "planning.stream_state"} <= imports_of("caching.cache")
    families = (ROOT / "hf_ttr" / "models").glob("*/__init__.py")
    assert imports_of("models") == {f"models.{path.parent.name}" for path in families}
    assert "models.register" in imports_of("hub.checkpoints")
    assert "models.register" not in imports_of("hub.checkpoints", inside_functions=False)


def test_every_module_is_on_the_page_once() -> None:
    assert sorted(groups()) == MODULES


def test_what_the_text_names_is_there() -> None:
    text = re.sub(r"<!-- modules.*?<!-- /modules -->", "", PAGE, flags=re.DOTALL)
    folders = {module.split(".")[0] for module in MODULES if "." in module}
    named = [name for name in re.findall(r"`([a-z_0-9]+(?:\.[a-z_0-9]+)+)`", text) if name.split(".")[0] in folders]
    assert len(named) > 10
    assert [name for name in named if name not in MODULES] == []


@pytest.mark.parametrize("module", EVERY)
def test_groups_import_from_above_alone(module: str) -> None:
    group = groups()
    below = {name for name in imports_of(module) if name and group[group_of(name)] > group[group_of(module)]}
    assert not below
    assert "" not in imports_of(module) or f"{module}.".startswith(tuple(f"{name}." for name in PUBLIC))


def test_plans_know_no_model() -> None:
    for module in MODULES:
        if module.split(".")[0] == "planning":
            assert {
                name
                for name in imports_of(module)
                if name.split(".")[0] not in ("planning", "configuration", "devices")
            } == set()


def test_methods_of_reduction_know_no_plan() -> None:
    found = {module for module in MODULES if module.startswith("reduction") and "planning.plan" in imports_of(module)}
    assert found == {"reduction.frame_merging"}
    for module in MODULES:
        if module.split(".")[0] == "reduction":
            others = {name for name in imports_of(module) if name.split(".")[0] not in ("reduction", "checks")}
            assert others <= {"planning.plan", "execution.softcap"}


def test_models_know_no_concrete_policy() -> None:
    concrete = {*POLICIES, *(f"reduction.{name}" for name in METHODS)}
    assert concrete <= set(MODULES)
    for module in EVERY:
        if module.split(".")[0] == "models":
            assert not imports_of(module) & concrete
    used = imports_of("models.frame_model") | imports_of("models.window_model")
    assert {"planning.planner", "planning.window_planner"} <= used


def test_shared_code_knows_no_model() -> None:
    shared = [module for module in MODULES if module.startswith("models.") and path_of(module).stem != "__init__"]
    assert {"models.attending", "models.frame_model", "models.register", "models.window_model"} <= set(shared)
    folders = {module for module in MODULES if module.startswith("models.")} - set(shared)
    for module in set(EVERY) - {"models"}:
        if not module.startswith(tuple(f"{folder}." for folder in folders)) and module not in folders:
            assert not {group_of(name) for name in imports_of(module)} & folders, module


@pytest.mark.parametrize("folder", ["streaming", "evaluation", "visualization", "metrics"])
def test_users_of_models_are_handed_one(folder: str) -> None:
    own = [module for module in MODULES if module.split(".")[0] == folder]
    assert own
    for module in own:
        assert not {name for name in imports_of(module) if name.split(".")[0] in ("models", "conversion")}


def test_no_circles() -> None:
    done: set[str] = set()

    def visit(module: str, way: tuple[str, ...]) -> None:
        assert module not in way, " -> ".join([*way, module])
        if module not in done:
            for name in sorted(imports_of(module, inside_functions=False)):
                # A package is being loaded while its modules are.
                if name and not module.startswith(f"{name}."):
                    visit(name, (*way, module))
            done.add(module)

    for module in EVERY:
        visit(module, ())
    assert done == set(EVERY)


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("draw_architecture", ROOT / "scripts" / "draw_architecture.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_the_tables_are_those_of_the_docstrings(script: ModuleType) -> None:
    assert script.filled(PAGE) == PAGE


def test_the_picture_is_what_the_script_draws(script: ModuleType) -> None:
    assert script.PICTURE.read_text() == script.picture()


def test_the_picture_shows_modules_of_the_page() -> None:
    svg = (ROOT / "docs" / "images" / "architecture.svg").read_text()
    shown = re.findall(r'<text class="module"[^>]*>([^<]+)</text>', svg)
    assert len(shown) > 20
    assert set(shown) <= set(groups())
    for module in shown:
        assert path_of(module).is_file()


def test_arrows_of_the_picture_are_imports() -> None:
    """What a step of the picture works with, its modules import."""
    frames, windows = "models.frame_model", "models.window_model"
    assert {"caching.cache", "execution.packed", "planning.planner", "reduction.row_reduction"} <= imports_of(frames)
    assert {"execution.linear", "execution.flops"} <= imports_of(frames) & imports_of(windows)
    assert {"caching.window_cache", "execution.compact", "planning.window_planner"} <= imports_of(windows)
    assert {"planning.causal", "planning.bidirectional", "planning.stream_state"} <= imports_of("planning.planner")
    assert {"planning.runs", "planning.window_state"} <= imports_of("planning.window_planner")
