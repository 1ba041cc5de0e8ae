"""Reads a kustomization: as much of kustomize as k8s/ uses, so that what it renders can be checked without a cluster.

Anything else in a kustomization is refused, so that the reader and kustomize never disagree in silence.
"""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Manifest = dict[str, Any]

KNOWN = {"apiVersion", "images", "kind", "namespace", "patches", "resources"}
# By which key the items of a list are told apart, for the lists that patches touch.
MERGE_KEYS = {"containers": "name", "env": "name", "ports": "containerPort"}


def render(folder: Path) -> list[Manifest]:
    """Renders the kustomization of a folder."""
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    unknown = sorted(kustomization.keys() - KNOWN)
    assert not unknown, f"{folder.name}/kustomization.yaml uses {unknown}, which this reader does not know."
    manifests: list[Manifest] = []
    for resource in kustomization["resources"]:
        path = folder / resource
        manifests += render(path) if path.is_dir() else list(yaml.safe_load_all(path.read_text()))
    for entry in kustomization.get("patches", []):
        _apply(entry, folder, manifests)
    for manifest in manifests:
        if "namespace" in kustomization:
            manifest["metadata"]["namespace"] = kustomization["namespace"]
        for container in containers(manifest):
            container["image"] = _image(container["image"], kustomization.get("images", []))
    return manifests


def pod(manifest: Manifest) -> Manifest | None:
    """Finds the pod template of a manifest; None where it runs nothing."""
    spec = manifest.get("spec", {})
    if manifest["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    template: Manifest | None = spec.get("template")
    return template


def containers(manifest: Manifest) -> list[Manifest]:
    """Lists the containers that a manifest runs."""
    template = pod(manifest)
    return list(template["spec"]["containers"]) if template else []


def _apply(entry: Manifest, folder: Path, manifests: list[Manifest]) -> None:
    text = entry["patch"] if "patch" in entry else (folder / entry["path"]).read_text()
    patch = yaml.safe_load(text)
    target = entry.get("target") or {"kind": patch["kind"], "name": patch["metadata"]["name"]}
    touched = [manifest for manifest in manifests if _is_meant(manifest, target)]
    assert touched, f"{folder.name}: the patch for {target} meets nothing."
    for manifest in touched:
        if isinstance(patch, list):
            for operation in patch:
                _operate(manifest, operation)
        else:
            # A patch with a target says nothing about what it is laid over.
            meant = {key: value for key, value in patch.items() if key not in ("apiVersion", "kind", "metadata")}
            _merge(manifest, copy.deepcopy(meant))


def _is_meant(manifest: Manifest, target: Manifest) -> bool:
    found = {"kind": manifest["kind"], "name": manifest["metadata"]["name"]}
    return all(re.fullmatch(pattern, found[key]) for key, pattern in target.items())


def _merge(into: Manifest, patch: Manifest) -> None:
    for key, value in patch.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        elif isinstance(value, list) and key in MERGE_KEYS and key in into:
            _merge_items(into[key], value, MERGE_KEYS[key])
        else:
            into[key] = value


def _merge_items(into: list[Manifest], patch: list[Manifest], merge_key: str) -> None:
    by_key = {item[merge_key]: item for item in into}
    for item in patch:
        if item[merge_key] in by_key:
            _merge(by_key[item[merge_key]], item)
        else:
            into.append(item)


def _operate(manifest: Manifest, operation: Manifest) -> None:
    """Carries out one operation of JSON Patch (RFC 6902)."""
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    holder: Any = manifest
    for part in parents:
        holder = holder[int(part)] if isinstance(holder, list) else holder[part]
    key: Any = int(last) if isinstance(holder, list) else last
    actions: dict[str, Callable[[], None]] = {
        "replace": lambda: _replace(holder, key, operation["value"]),
        "add": lambda: holder.__setitem__(key, operation["value"]),
        "remove": lambda: holder.__delitem__(key),
    }
    actions[operation["op"]]()


def _replace(holder: Any, key: Any, value: Any) -> None:
    assert isinstance(holder, list) or key in holder, f"There is no {key} to replace."
    holder[key] = value


def _image(image: str, changes: list[dict[str, str]]) -> str:
    for change in changes:
        if change["name"] == image:
            return f"{change.get('newName', image)}:{change['newTag']}"
    return image
