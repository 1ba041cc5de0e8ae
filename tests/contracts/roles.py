"""The roles of each service (serve, work, migrate) and the environment variables that each reads."""

import ast
import dataclasses
import importlib
from typing import Any

from services.kernel import logs
from tests.contracts.sources import SERVICES


def roles(service: str) -> dict[str, type[Any]]:
    """Reads from the entry point of a service the settings of each of its roles."""
    path = SERVICES / service / "__main__.py"
    module = importlib.import_module(f"services.{service}.__main__")
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "process.main":
            table = node.args[1]
            assert isinstance(table, ast.Dict), f"{path} gives process.main its roles as a dict."
            return {
                ast.literal_eval(role): getattr(module, ast.unparse(entry.elts[0]))
                for role, entry in zip(table.keys, table.values, strict=True)
                if role is not None and isinstance(entry, ast.Tuple)
            }
    raise AssertionError(f"{path} hands its roles to process.main: no entry point does anything else.")


def variables(settings: type[Any]) -> dict[str, bool]:
    """Tells which variables a role reads, and whether each must be set; those of the log come with every role."""
    fields = [*dataclasses.fields(settings), *dataclasses.fields(logs.Settings)]
    return {field.metadata["variable"]: field.metadata["default"] is None for field in fields}


def secrets(settings: type[Any]) -> set[str]:
    """Names the variables of a role that hold secrets."""
    return {field.metadata["variable"] for field in dataclasses.fields(settings) if field.metadata["secret"]}
