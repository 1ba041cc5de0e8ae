"""What the contracts share: databases that migrations made and that schema.sql draws."""

import pytest

from tests.contracts.schemas import Schemas
from tests.support.databases import Databases


@pytest.fixture(scope="session")
def schemas(databases: Databases) -> Schemas:
    """Makes schemas on the server of the run."""
    return Schemas(databases.server)
