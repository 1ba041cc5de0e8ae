"""Metrics that every service has, for Prometheus."""

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest, start_http_server

LATENCY_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SIZE_BUCKETS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)

RPC_SECONDS = Histogram(
    "plaudit_rpc_seconds", "Duration of calls, by method and code.", ["method", "code"], buckets=LATENCY_BUCKETS_S
)
JOB_SECONDS = Histogram(
    "plaudit_job_seconds", "Duration of jobs, by name and outcome.", ["job", "outcome"], buckets=LATENCY_BUCKETS_S
)
BATCH_ITEMS = Histogram("plaudit_batch_items", "Items in a batch, by batcher.", ["batcher"], buckets=SIZE_BUCKETS)
BATCH_QUEUE_ITEMS = Gauge("plaudit_batch_queue_items", "Items that wait for a batch, by batcher.", ["batcher"])
BATCH_RETRIES = Counter("plaudit_batch_retries", "Batches that were split, by batcher and cause.", ["batcher", "cause"])
FEED_LAG_EVENTS = Gauge("plaudit_feed_lag_events", "Events that a follower has yet to see.", ["follower", "partition"])
DUE_DEAD = Counter("plaudit_due_dead", "Due work that ended as a dead letter, by kind.", ["kind"])


def render() -> tuple[bytes, str]:
    """Gives the text of all metrics and its content type."""
    return generate_latest(), CONTENT_TYPE_LATEST


def serve(address: str) -> None:
    """Answers Prometheus at `host:port`, in a thread of its own. Raises OSError where the port is taken."""
    host, _, port = address.rpartition(":")
    start_http_server(int(port), addr=host)
