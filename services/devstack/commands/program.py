"""`./plaudit program create`: a program and an API key for it."""

import argparse
import asyncio
import json
import os
from pathlib import Path

from plaudit.program.v1 import program_pb2

from services.devstack.access import Access
from services.devstack.catalogue import LOOPBACK
from services.devstack.data_dir import DataDir
from services.devstack.errors import CannotRunError
from services.kernel import config

KEY_VARIABLE = "PLAUDIT_TOKEN_PRIVATE_KEY"


def run(parsed: argparse.Namespace) -> int:
    """Creates the program where it is missing, makes a new key for it, and prints the key."""
    address, token_key = deployed(parsed.address) if parsed.address else local(parsed.data_dir)
    program = program_pb2.Program(program_id=parsed.id, display_name=parsed.name, time_zone=parsed.time_zone)
    api_key = asyncio.run(create(address, token_key, program))
    if parsed.json:
        print(json.dumps({"program": parsed.id, "api_key": api_key}))
    else:
        print(f"program {parsed.id}")
        print(f"api key {api_key}  (shown this once)")
    return 0


def local(path: Path) -> tuple[str, bytes]:
    """Finds the program service of a stack on this machine, and its key."""
    data_dir = DataDir.open(path)
    if not data_dir.in_use():
        raise CannotRunError(f"nothing runs on {path}; start it with ./plaudit up, or name a service with --address")
    return f"{LOOPBACK}:{data_dir.load_stack().ports['program']}", data_dir.token_key()


def deployed(address: str) -> tuple[str, bytes]:
    """Reads the key for a program service elsewhere from the environment."""
    try:
        return config.address(address), config.ed25519_key(os.environ.get(KEY_VARIABLE, ""))
    except ValueError as error:
        raise CannotRunError(f"--address needs host:port, and {KEY_VARIABLE} in the environment: {error}") from error


async def create(address: str, token_key: bytes, program: program_pb2.Program) -> str:
    """Creates a program and a key by way of the program service."""
    async with Access(address, token_key) as operator:
        await operator.create_program(program)
        return await operator.create_api_key(program.program_id, "./plaudit program create")
