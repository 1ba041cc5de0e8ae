"""The ledger over gRPC: a module a service of the contract."""

import grpc
from plaudit.feed.v1 import feed_service_pb2, feed_service_pb2_grpc
from plaudit.ledger.v1 import (
    budget_service_pb2,
    budget_service_pb2_grpc,
    ledger_service_pb2,
    ledger_service_pb2_grpc,
    liability_service_pb2,
    liability_service_pb2_grpc,
    operation_service_pb2,
    operation_service_pb2_grpc,
    seal_service_pb2,
    seal_service_pb2_grpc,
)

from services.kernel import feed_rpc, rpc
from services.kernel.interceptors import Authenticate
from services.ledger import events
from services.ledger.operations.posting import Ledger
from services.ledger.seal import Keys
from services.ledger.server.budget import BudgetServicer
from services.ledger.server.ledger import LedgerServicer
from services.ledger.server.liability import LiabilityServicer
from services.ledger.server.operation import OperationServicer
from services.ledger.server.seal import SealServicer


def build_server(ledger: Ledger, keys: Keys, authenticate: Authenticate) -> rpc.Server:
    """Makes the server of the ledger and its feed."""

    def register(server: grpc.aio.Server) -> None:
        ledger_service_pb2_grpc.add_LedgerServiceServicer_to_server(LedgerServicer(ledger), server)
        operation_service_pb2_grpc.add_OperationServiceServicer_to_server(OperationServicer(ledger), server)
        budget_service_pb2_grpc.add_BudgetServiceServicer_to_server(BudgetServicer(ledger), server)
        liability_service_pb2_grpc.add_LiabilityServiceServicer_to_server(LiabilityServicer(ledger), server)
        seal_service_pb2_grpc.add_SealServiceServicer_to_server(SealServicer(ledger, keys), server)
        feed_service_pb2_grpc.add_FeedServiceServicer_to_server(feed_rpc.FeedServicer(ledger.pool, events.read), server)

    files = [
        ledger_service_pb2.DESCRIPTOR,
        operation_service_pb2.DESCRIPTOR,
        budget_service_pb2.DESCRIPTOR,
        liability_service_pb2.DESCRIPTOR,
        seal_service_pb2.DESCRIPTOR,
        feed_service_pb2.DESCRIPTOR,
    ]
    return rpc.Server(files=files, authenticate=authenticate, register=register)
