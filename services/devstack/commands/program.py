"""`./plaudit program create`: a program and an API key for it."""

import argparse
import asyncio
import json

from plaudit.program.v1 import program_pb2

from services.devstack.access import Access
from services.devstack.catalogue import LOOPBACK
from services.devstack.data_dir import DataDir
from services.devstack.errors import CannotRunError


def run(parsed: argparse.Namespace) -> int:
    """Creates the program where it is missing, makes a new key for it, and prints the key."""
    data_dir = DataDir.open(parsed.data_dir)
    if not data_dir.in_use():
        raise CannotRunError(f"nothing runs on {parsed.data_dir}; start it with ./plaudit up")
    program = program_pb2.Program(program_id=parsed.id, display_name=parsed.name, time_zone=parsed.time_zone)
    address = f"{LOOPBACK}:{data_dir.load_stack().ports['program']}"
    api_key = asyncio.run(create(address, data_dir.token_key(), program))
    if parsed.json:
        print(json.dumps({"program": parsed.id, "api_key": api_key}))
    else:
        print(f"program {parsed.id}")
        print(f"api key {api_key}  (shown this once)")
    return 0


async def create(address: str, token_key: bytes, program: program_pb2.Program) -> str:
    """Creates a program and a key by way of the program service."""
    async with Access(address, token_key) as operator:
        await operator.create_program(program)
        return await operator.create_api_key(program.program_id, "./plaudit program create")
