"""House rules on what runs in Kubernetes, checked on what the kustomizations render to."""

import copy
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import yaml

from services.kernel import rpc
from tests.contracts import kustomize, roles, sources
from tests.contracts.kustomize import Manifest
from tests.contracts.rules import assert_none
from tests.contracts.sources import ROOT

K8S = ROOT / "k8s"
OVERLAYS = ("overlays/dev", "overlays/production")
KUBECTL_TIMEOUT_S = 60
SERVICES = sources.services()

NAME = "app.kubernetes.io/name"
COMPONENT = "app.kubernetes.io/component"
COMPONENTS = {"serve": "server", "work": "worker", "migrate": "migrate", "check": "check"}
KINDS = {"serve": "Deployment", "work": "Deployment", "migrate": "Job", "check": "CronJob"}
POSTGRES, REDIS = ("postgresql", 5432), ("valkey", 6379)
OUTSIDE = "outside"


@cache
def _rendered(folder: str) -> list[Manifest]:
    return kustomize.render(K8S / folder)


def rendered(folder: str) -> list[Manifest]:
    """Renders a kustomization; the caller may change what it gets."""
    return copy.deepcopy(_rendered(folder))


@dataclass(frozen=True)
class Program:
    """One container that runs a role of a service."""

    manifest: Manifest
    container: Manifest

    @property
    def place(self) -> str:
        """Names the workload."""
        return f"{self.manifest['kind']} {self.manifest['metadata']['name']}"

    @property
    def pod(self) -> Manifest:
        """Gives the pod template."""
        found = kustomize.pod(self.manifest)
        assert found is not None
        return found

    @property
    def service(self) -> str:
        """Names the service by its image."""
        name = self.container["image"].rpartition("/")[2].partition(":")[0]
        return str(name).removeprefix("plaudit-")

    @property
    def role(self) -> str:
        """Names the role that the image is started with."""
        return str(self.container["args"][0])

    @property
    def labels(self) -> dict[str, str]:
        """Gives the labels of the pod."""
        found: dict[str, str] = self.pod["metadata"]["labels"]
        return found

    @property
    def environment(self) -> dict[str, Manifest]:
        """Gives the environment variables by name."""
        return {entry["name"]: entry for entry in self.container.get("env", [])}

    @property
    def settings(self) -> type[Any]:
        """Gives the settings of the role."""
        return roles.roles(self.service)[self.role]

    @property
    def ports(self) -> dict[str, int]:
        """Gives the ports by name."""
        return {port["name"]: port["containerPort"] for port in self.container.get("ports", [])}


def programs(manifests: Iterable[Manifest]) -> list[Program]:
    """Lists everything that runs."""
    return [Program(manifest, container) for manifest in manifests for container in kustomize.containers(manifest)]


def of_kind(manifests: Iterable[Manifest], kind: str) -> list[Manifest]:
    """Picks the manifests of a kind."""
    return [manifest for manifest in manifests if manifest["kind"] == kind]


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    """Tells whether labels are what a selector asks for."""
    return selector.items() <= labels.items()


@dataclass(frozen=True)
class ManifestRule:
    """One rule on rendered manifests. `breach` breaks it in a copy of them."""

    name: str
    lesson: str
    find: Callable[[list[Manifest]], Iterable[str]]
    breach: Callable[[list[Manifest]], object]


def _parts_missing(manifests: list[Manifest]) -> Iterator[str]:
    running = {(program.service, program.role): program for program in programs(manifests)}
    for service in SERVICES:
        for role in roles.roles(service):
            program = running.get((service, role))
            kind = KINDS[role]
            if program is None or program.manifest["kind"] != kind:
                yield f"{service} {role}: no {kind} runs it"
            elif program.labels != {NAME: service, COMPONENT: COMPONENTS[role]}:
                yield f"{service} {role}: its pods are labelled {program.labels}"
        for kind in ("ServiceAccount", "Service", "PodDisruptionBudget", "HorizontalPodAutoscaler"):
            if service not in [manifest["metadata"]["name"] for manifest in of_kind(manifests, kind)]:
                yield f"{service}: no {kind}"


def _variables_wrong(manifests: list[Manifest]) -> Iterator[str]:
    for program in programs(manifests):
        known = roles.variables(program.settings)
        for name in sorted(program.environment.keys() - known.keys()):
            yield f"{program.place}: {name} is read by nobody there"
        for name, is_required in known.items():
            if is_required and name not in program.environment:
                yield f"{program.place}: {name} is missing"
        for name, entry in program.environment.items():
            is_reference = "secretKeyRef" in entry.get("valueFrom", {})
            if name in roles.secrets(program.settings) and not is_reference:
                yield f"{program.place}: {name} is a secret and stands there by its value"


def _selectors_wrong(manifests: list[Manifest]) -> Iterator[str]:
    running = programs(manifests)
    for manifest in manifests:
        spec = manifest.get("spec", {})
        selector = spec.get("selector") or {}
        selector = selector.get("matchLabels", selector)
        if manifest["kind"] in ("Service", "PodDisruptionBudget", "Deployment"):
            names = [program.place for program in running if selects(selector, program.labels)]
            if len(names) != 1:
                yield f"{manifest['kind']} {manifest['metadata']['name']} selects {names or 'nothing'}"
        if manifest["kind"] == "HorizontalPodAutoscaler":
            target = f"Deployment {spec['scaleTargetRef']['name']}"
            scaled = [program.manifest for program in running if program.place == target]
            if not scaled or "replicas" in scaled[0]["spec"]:
                yield f"{target}: the autoscaler has no such target, or the manifest sets its replicas too"


def _ports_wrong(manifests: list[Manifest]) -> Iterator[str]:
    services = {manifest["metadata"]["name"]: manifest for manifest in of_kind(manifests, "Service")}
    for program in programs(manifests):
        for name, entry in program.environment.items():
            host, _, port = str(entry.get("value", "")).rpartition(":")
            if name.endswith("_LISTEN"):
                if host != "0.0.0.0" or int(port) not in program.ports.values():
                    yield f"{program.place}: listens on {host}:{port}, its ports are {program.ports}"
                served = services[program.service]["spec"]["ports"]
                if [program.ports.get(each["targetPort"]) for each in served] != [int(port)]:
                    yield f"{program.place}: the Service points at other ports"
            if name.endswith("_ADDRESS"):
                found = services.get(host)
                if found is None or int(port) not in [each["port"] for each in found["spec"]["ports"]]:
                    yield f"{program.place}: {name} names no Service: {host}:{port}"
                elif found["spec"].get("clusterIP") != "None":
                    yield f"{program.place}: {host} is no headless Service, so round robin sees one replica"


def _probes_wrong(manifests: list[Manifest]) -> Iterator[str]:
    for program in programs(manifests):
        if program.role != "serve":
            continue
        for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
            probe = program.container.get(kind, {})
            how = "httpGet" if program.service == "gateway" else "grpc"
            port = probe.get(how, {}).get("port")
            if program.ports.get(port, port) not in program.ports.values():
                yield f"{program.place}: {kind} does not ask by {how} at a port of the container"
        paths = [program.container[kind].get("httpGet", {}).get("path") for kind in ("readinessProbe", "livenessProbe")]
        if program.service == "gateway" and paths != ["/readyz", "/healthz"]:
            yield f"{program.place}: asks at {paths}"


def _unhardened(manifests: list[Manifest]) -> Iterator[str]:
    for program in programs(manifests):
        pod, container = program.pod["spec"], program.container
        outer, inner = pod.get("securityContext", {}), container.get("securityContext", {})
        wanted = {
            "runAsNonRoot": outer.get("runAsNonRoot") is True and outer.get("runAsUser", 0) > 0,
            "seccompProfile": outer.get("seccompProfile") == {"type": "RuntimeDefault"},
            "readOnlyRootFilesystem": inner.get("readOnlyRootFilesystem") is True,
            "allowPrivilegeEscalation": inner.get("allowPrivilegeEscalation") is False,
            "capabilities": inner.get("capabilities") == {"drop": ["ALL"]},
            "automountServiceAccountToken": pod.get("automountServiceAccountToken") is False,
            # A Job runs before the accounts are made, and needs none; a check needs none either.
            "serviceAccountName": pod.get("serviceAccountName") == program.service
            or KINDS[program.role] != "Deployment",
        }
        yield from (f"{program.place}: {name}" for name, is_kept in wanted.items() if not is_kept)


def _unbounded(manifests: list[Manifest]) -> Iterator[str]:
    for program in programs(manifests):
        resources = program.container.get("resources", {})
        if not {"cpu", "memory"} <= resources.get("requests", {}).keys() or "memory" not in resources.get("limits", {}):
            yield f"{program.place}: requests of cpu and memory, and a limit of memory"
        grace_s = program.pod["spec"].get("terminationGracePeriodSeconds", 0)
        # A worker has its pool to close as well; twice the drain is room for all of it.
        if grace_s <= 2 * (rpc.DRAIN_S + rpc.DRAIN_NOTICE_S):
            yield f"{program.place}: is killed after {grace_s} s and drains for {rpc.DRAIN_S} s"


def _edges_wanted(manifests: list[Manifest]) -> set[tuple[str, str, int]]:
    """Lists who must reach whom: what each environment names, and the ingress that leads to the gateway."""
    edges = set()
    for program in programs(manifests):
        for name, entry in program.environment.items():
            if name.endswith("_DSN"):
                edges.add((_pod_name(program.labels), *POSTGRES))
            elif name.endswith("_REDIS_URL"):
                edges.add((_pod_name(program.labels), *REDIS))
            elif name.endswith("_SMTP_URL"):
                # Whoever sends mail posts to endpoints as well.
                edges |= {(_pod_name(program.labels), OUTSIDE, port) for port in (443, 587)}
            elif name.endswith("_ADDRESS"):
                host, _, port = entry["value"].rpartition(":")
                edges.add((_pod_name(program.labels), f"{host}/server", int(port)))
    for ingress in of_kind(manifests, "Ingress"):
        for rule in ingress["spec"]["rules"]:
            for path in rule["http"]["paths"]:
                name = path["backend"]["service"]["name"]
                [program] = [each for each in programs(manifests) if each.labels == {NAME: name, COMPONENT: "server"}]
                edges.add((OUTSIDE, _pod_name(program.labels), next(iter(program.ports.values()))))
    return edges


def _pod_name(labels: dict[str, str]) -> str:
    return f"{labels[NAME]}/{labels[COMPONENT]}" if COMPONENT in labels else labels[NAME]


def _edges_allowed(manifests: list[Manifest], direction: str) -> set[tuple[str, str, int]]:
    """Lists the edges that policies allow, at the end that sends (egress) or at the one that is reached (ingress)."""
    side = "to" if direction == "egress" else "from"
    edges = set()
    for policy in of_kind(manifests, "NetworkPolicy"):
        selector = policy["spec"]["podSelector"].get("matchLabels", {})
        if not selector:
            continue
        ends = [_pod_name(each.labels) for each in programs(manifests) if selects(selector, each.labels)]
        for rule in policy["spec"].get(direction, []):
            for peer in rule[side]:
                other = _pod_name(peer["podSelector"]["matchLabels"]) if "podSelector" in peer else OUTSIDE
                pairs = [(end, other) if side == "to" else (other, end) for end in ends]
                edges |= {(*pair, port["port"]) for pair in pairs for port in rule["ports"]}
    return edges


def _edges_wrong(manifests: list[Manifest]) -> Iterator[str]:
    wanted = _edges_wanted(manifests)
    ours = {_pod_name(program.labels) for program in programs(manifests)}
    for direction, end in (("egress", 0), ("ingress", 1)):
        allowed = _edges_allowed(manifests, direction)
        expected = {edge for edge in wanted if edge[end] in ours}
        yield from (f"{edge} is needed, and no {direction} allows it" for edge in sorted(expected - allowed))
        yield from (f"{edge} is allowed by {direction}, and nobody needs it" for edge in sorted(allowed - expected))
    everywhere = [policy["spec"] for policy in of_kind(manifests, "NetworkPolicy") if not policy["spec"]["podSelector"]]
    if {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]} not in everywhere:
        yield "no policy denies everything else"
    if not any(port["port"] == 53 for spec in everywhere for rule in spec.get("egress", []) for port in rule["ports"]):
        yield "no policy lets pods ask for names"


def _secrets_kept(manifests: list[Manifest]) -> Iterator[str]:
    yield from (f"Secret {manifest['metadata']['name']}" for manifest in of_kind(manifests, "Secret"))


def _first(manifests: list[Manifest], kind: str = "Deployment") -> Manifest:
    return of_kind(manifests, kind)[0]


def _container(manifests: list[Manifest]) -> Manifest:
    return kustomize.containers(_first(manifests))[0]


RULES = [
    ManifestRule(
        "service_is_whole",
        "Each service has a ServiceAccount, a Deployment for serve and for work, a Job for migrate, a CronJob for "
        "check, a Service, a PodDisruptionBudget and a HorizontalPodAutoscaler; pods are labelled by service and "
        "component.",
        _parts_missing,
        lambda manifests: manifests.remove(_first(manifests, "PodDisruptionBudget")),
    ),
    ManifestRule(
        "environment_is_the_settings",
        "A container sets every variable that its role requires (see Settings in the service's __main__.py) and none "
        "that it does not read; secrets come by reference.",
        _variables_wrong,
        lambda manifests: _container(manifests)["env"].append({"name": "PLAUDIT_LEGDER_DSN", "value": "x"}),
    ),
    ManifestRule(
        "secret_is_referred_to",
        "A variable that is a secret in Settings comes from a secretKeyRef.",
        _variables_wrong,
        lambda manifests: [
            entry.update(value="x") or entry.pop("valueFrom", None) for entry in _container(manifests)["env"]
        ],
    ),
    ManifestRule(
        "selector_finds_its_pods",
        "Every Service, PodDisruptionBudget and Deployment selects one workload, and what an autoscaler scales has no "
        "replicas of its own.",
        _selectors_wrong,
        lambda manifests: _first(manifests, "Service")["spec"]["selector"].update({NAME: "nobody"}),
    ),
    ManifestRule(
        "ports_agree",
        "What a server listens on, its container's port, its Service and the addresses that its clients are given are "
        "one; gRPC has headless Services, since one address would pin each client to one replica.",
        _ports_wrong,
        lambda manifests: [manifest["spec"].pop("clusterIP", None) for manifest in of_kind(manifests, "Service")],
    ),
    ManifestRule(
        "server_is_probed",
        "Every server has a startup, a readiness and a liveness probe: gRPC health, and HTTP for the gateway.",
        _probes_wrong,
        lambda manifests: _container(manifests)["readinessProbe"].clear(),
    ),
    ManifestRule(
        "pod_is_hardened",
        "Every pod runs as nobody, without privileges, on a file system that it cannot write.",
        _unhardened,
        lambda manifests: _container(manifests)["securityContext"].update(readOnlyRootFilesystem=False),
    ),
    ManifestRule(
        "pod_is_bounded",
        "Every container says what it needs and how much memory it may have, and has more time to end than its calls "
        "have to drain.",
        _unbounded,
        lambda manifests: _first(manifests)["spec"]["template"]["spec"].update(terminationGracePeriodSeconds=8),
    ),
    ManifestRule(
        "network_has_the_edges_that_are_used",
        "Everything is denied but the edges that an environment variable (or the Ingress) needs, at both ends: see "
        "network.yaml.",
        _edges_wrong,
        lambda manifests: manifests.remove(of_kind(manifests, "NetworkPolicy")[-1]),
    ),
    ManifestRule(
        "no_secret_is_kept",
        "Secrets are made in the cluster and referred to by name; none is in the tree.",
        _secrets_kept,
        lambda manifests: manifests.append({"kind": "Secret", "metadata": {"name": "token-key"}}),
    ),
]


@pytest.mark.parametrize("folder", ["base", *OVERLAYS])
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_manifests_keep_rule(rule: ManifestRule, folder: str) -> None:
    """What a kustomization renders to keeps the rule."""
    assert_none(rule.find(rendered(folder)), rule.lesson)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_rule_sees_its_breach(rule: ManifestRule) -> None:
    """The rule sees a breach of it, so that clean manifests mean something."""
    manifests = rendered("base")
    rule.breach(manifests)
    assert list(rule.find(manifests))


def identity(manifest: Manifest) -> tuple[str, str]:
    """Tells a manifest from others."""
    return manifest["kind"], manifest["metadata"]["name"]


@pytest.mark.parametrize("folder", OVERLAYS)
def test_overlay_only_patches(folder: str) -> None:
    """An overlay has the manifests of the base, in a namespace of its own, each image with a tag that does not move."""
    manifests = rendered(folder)
    assert sorted(map(identity, manifests)) == sorted(map(identity, rendered("base")))
    assert len({manifest["metadata"]["namespace"] for manifest in manifests}) == 1
    for program in programs(manifests):
        tag = program.container["image"].partition(":")[2]
        assert tag not in ("", "latest"), f"{program.place}: name a tag under images in {folder}/kustomization.yaml"


def test_production_survives_a_node() -> None:
    """In production no service has less than two replicas, and they are spread."""
    for autoscaler in of_kind(rendered("overlays/production"), "HorizontalPodAutoscaler"):
        assert autoscaler["spec"]["minReplicas"] >= 2
    for program in programs(rendered("overlays/production")):
        if program.role == "serve":
            assert program.pod["spec"]["topologySpreadConstraints"]


def test_readme_names_every_secret() -> None:
    """The page of k8s/ says of every secret which keys it holds, so that nobody has to look for them."""
    page = (K8S / "README.md").read_text(encoding="utf-8")
    references = [
        entry["valueFrom"]["secretKeyRef"]
        for program in programs(rendered("base"))
        for entry in program.environment.values()
        if "valueFrom" in entry
    ]
    missing = {f"{each['name']} {each['key']}" for each in references if f"`{each['name']}`" not in page}
    missing |= {f"{each['name']} {each['key']}" for each in references if f"`{each['key']}`" not in page}
    assert_none(sorted(missing), "k8s/README.md lists the secrets that must be there, each with its keys.")


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed; the reader is tested without it")
@pytest.mark.parametrize("folder", ["base", *OVERLAYS])
def test_reader_agrees_with_kustomize(folder: str) -> None:
    """Where kubectl is installed, it renders what the reader of these tests renders."""
    result = subprocess.run(
        ["kubectl", "kustomize", K8S / folder], capture_output=True, text=True, timeout=KUBECTL_TIMEOUT_S, check=True
    )
    theirs = {identity(manifest): manifest for manifest in yaml.safe_load_all(result.stdout)}
    assert {identity(manifest): manifest for manifest in rendered(folder)} == theirs
