"""One stack on this machine: its servers, its services, and the order in which they start and stop."""

import asyncio
import importlib
from collections.abc import Callable, Coroutine
from typing import Any

from services.devstack import ports
from services.devstack.catalogue import GATEWAY, LOOPBACK, MAIL, NAMES, SERVICES, Service
from services.devstack.children import ServiceProcess
from services.devstack.data_dir import DataDir
from services.devstack.errors import CannotRunError
from services.devstack.postgres import EmbeddedPostgres
from services.devstack.redis import EmbeddedRedis
from services.devstack.servers import EmbeddedServer
from services.devstack.settings import External, Wiring
from services.devstack.supervisor import Child, Supervisor

READY_WAIT_S = 60.0
PROBE_EVERY_S = 0.05
# Where the mail of the stack goes in by SMTP, and where it can be read.
MAIL_PORTS = ("mail smtp", "mail http")


class LocalStack:
    """Is everything that `up` runs on one data directory, which the caller has locked.

    `say` is told what happens. Raises CannotRunError where it cannot start; then, and whenever it is no longer wanted,
    `stop` ends what has been started.
    """

    def __init__(self, data_dir: DataDir, *, http_port: int, external: External, say: Callable[[str], None]) -> None:
        self.data_dir = data_dir
        self.supervisor = Supervisor(say)
        self.wiring = self._wire(http_port, external)
        self._external = external
        self.say = say
        self._services: list[ServiceProcess] = []

    def _wire(self, http_port: int, external: External) -> Wiring:
        """Decides all addresses, and writes down those that other commands need."""
        stack = self.data_dir.load_stack()
        reason = ports.problem(http_port) if http_port else None
        if reason:
            raise CannotRunError(f"port {http_port} {reason}; choose another with --port")
        stack.ports = ports.pick((*NAMES, *MAIL_PORTS), stack.ports)
        http_port = http_port or ports.pick_one(stack.ports.values())
        stack.url = f"http://{LOOPBACK}:{http_port}"
        self.postgres = EmbeddedPostgres(self.data_dir.postgres, log_path=self.data_dir.logs / "postgres.log")
        self.redis = EmbeddedRedis(self.data_dir.redis, log_path=self.data_dir.logs / "redis.log")
        owners = {name: self.postgres.dsn(name, f"{name}_owner") for name in NAMES}
        stack.dsns = {name: self.postgres.dsn(name, name) for name in NAMES} | dict(external.dsns)
        stack.external = sorted(external.dsns)
        self.data_dir.save_stack(stack)
        return Wiring(
            dsns=stack.dsns,
            owner_dsns=owners | dict(external.owner_dsns),
            redis_url=external.redis_url or self.redis.url,
            ports=stack.ports,
            http_port=http_port,
            token_key=self.data_dir.token_key(),
            seal_key=self.data_dir.seal_key(),
            signal_key=self.data_dir.signal_key(),
            notify_keys=self.data_dir.notify_keys(),
            service_keys={
                each.name: self.data_dir.service_key(each.name) for each in (GATEWAY, *SERVICES) if each.scopes
            },
            mail_ports=(stack.ports[MAIL_PORTS[0]], stack.ports[MAIL_PORTS[1]]),
        )

    @property
    def url(self) -> str:
        """Is the address of the HTTP API."""
        return f"http://{LOOPBACK}:{self.wiring.http_port}"

    async def start(self) -> None:
        """Starts everything and returns when all of it is ready and the demo program is there."""
        # Loading a service's code takes most of its start. The gateway needs nobody for it, and can do it at once.
        await self._start_service(GATEWAY, "serve")
        await self._start_service(MAIL, "serve")
        await together(self._start_databases(), self._start_redis(), asyncio.to_thread(preload))
        self.say("starting the services")
        for service in SERVICES:
            await self._start_service(service, "serve")
        await together(*(self._ready(process) for process in list(self._services) if process.service != MAIL))
        # Workers come after what people wait for.
        for service in SERVICES:
            await self._start_service(service, "work")
        self.say("preparing the demo program")
        await self._seed()

    def watch(self) -> None:
        """Restarts from now on what dies."""
        self.supervisor.watch()

    async def stop(self) -> None:
        """Drains and ends everything: who calls before who is called, servers last. Idempotent.

        Workers follow each other's services, and come before all of those.
        """
        workers: list[Child] = [process for process in self._services if process.role == "work"]
        order: list[list[Child]] = [
            [process for process in self._services if process.service == service and process not in workers]
            for service in (GATEWAY, *SERVICES, MAIL)
        ]
        await self.supervisor.stop([workers, *order, [self.redis], [self.postgres]])

    async def _start_databases(self) -> None:
        embedded = [name for name in NAMES if name not in self._external.dsns]
        if embedded:
            self.say("starting PostgreSQL")
            await self._start_server(self.postgres)
            await asyncio.to_thread(self.postgres.create_databases, embedded)
        self.say("bringing the databases up to date")
        await together(*(self._migrate(service) for service in SERVICES))

    async def _start_redis(self) -> None:
        if self._external.redis_url is None:
            self.say("starting Valkey")
            await self._start_server(self.redis)

    async def _start_server(self, server: EmbeddedServer) -> None:
        self.supervisor.adopt(server)
        await server.start_async()

    async def _migrate(self, service: Service) -> None:
        process = self._process(service, "migrate")
        try:
            await process.start_async()
            await process.finish()
        except CannotRunError as error:
            if service.name not in self._external.dsns:
                raise
            raise CannotRunError(f"{error}; it was told to use {service.variable('OWNER_DSN')}") from error
        finally:
            process.hurry()

    async def _start_service(self, service: Service, role: str) -> None:
        process = self._process(service, role)
        self._services.append(process)
        self.supervisor.adopt(process)
        await process.start_async()

    def _process(self, service: Service, role: str) -> ServiceProcess:
        keep_pg = bool(self._external.dsns)
        environment = self.wiring.environment(service, keep_pg=keep_pg)
        return ServiceProcess(service, role, data_dir=self.data_dir, environment=environment)

    async def _ready(self, process: ServiceProcess) -> None:
        """Returns when a process serves. Raises CannotRunError where any process of the stack ends before."""
        from services.devstack import readiness  # loaded by `preload` while the servers start

        loop = asyncio.get_running_loop()
        deadline = loop.time() + READY_WAIT_S
        while True:
            for each in self._services:
                if not each.running():
                    raise CannotRunError(each.complaint())
            if process.service == GATEWAY:
                state = await readiness.http_state(LOOPBACK, self.wiring.http_port)
            else:
                state = await readiness.grpc_state(self.wiring.address(process.service))
            if state == "SERVING":
                return
            if loop.time() >= deadline:
                raise CannotRunError(
                    f"{process.title} is not ready after {READY_WAIT_S:.0f} s (log: {process.log_path})"
                )
            await asyncio.sleep(PROBE_EVERY_S)

    async def _seed(self) -> None:
        """Makes the demo program, a key for it, its rules and its definitions, as far as they are missing."""
        from services.devstack import access, demo  # loaded by `preload` while the servers start

        program = self.wiring.address(service_of("program"))
        async with access.Access(program, self.wiring.token_key) as operator:
            await operator.ensure_program(demo.program())
            api_key = self.data_dir.api_key()
            if api_key is None or not await operator.key_works(api_key):
                api_key = await operator.create_api_key(demo.PROGRAM_ID, "./plaudit up")
                self.data_dir.save_credentials(program=demo.PROGRAM_ID, api_key=api_key)
            await operator.ensure_rules(api_key, demo.rule_requests())
            await operator.ensure_referral_programs(
                self.wiring.address(service_of("referral")), demo.PROGRAM_ID, demo.referral_program_requests()
            )
            await operator.ensure_definitions(
                self.wiring.address(service_of("gamification")), demo.PROGRAM_ID, demo.definition_requests()
            )
            await operator.ensure_messages(self.wiring.address(service_of("notify")), demo.PROGRAM_ID)


def service_of(name: str) -> Service:
    """Gives a service by its name."""
    return next(service for service in SERVICES if service.name == name)


def preload() -> None:
    """Loads what is slow to load, while this process waits for others anyway."""
    for module in ("readiness", "access", "demo"):
        importlib.import_module(f"services.devstack.{module}")


async def together(*parts: Coroutine[Any, Any, None]) -> None:
    """Runs all parts at once; where one fails, ends the others and raises its error."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
