"""Gamification over gRPC, a servicer a module."""

import grpc
from plaudit.feed.v1 import feed_service_pb2, feed_service_pb2_grpc
from plaudit.gamification.v1 import (
    definition_service_pb2,
    definition_service_pb2_grpc,
    gamification_service_pb2,
    gamification_service_pb2_grpc,
)

from services.gamification.operations.context import Context
from services.gamification.server.definition import DefinitionServicer
from services.gamification.server.gamification import GamificationServicer
from services.kernel import feed_rpc, interceptors, rpc


def build_server(context: Context, authenticate: interceptors.Authenticate) -> rpc.Server:
    """Makes the server of gamification, its definitions and its feed."""

    def register(server: grpc.aio.Server) -> None:
        gamification_service_pb2_grpc.add_GamificationServiceServicer_to_server(GamificationServicer(context), server)
        definition_service_pb2_grpc.add_DefinitionServiceServicer_to_server(DefinitionServicer(context), server)
        feed_service_pb2_grpc.add_FeedServiceServicer_to_server(feed_rpc.FeedServicer(context.pool), server)

    files = [gamification_service_pb2.DESCRIPTOR, definition_service_pb2.DESCRIPTOR, feed_service_pb2.DESCRIPTOR]
    return rpc.Server(files=files, authenticate=authenticate, register=register)
