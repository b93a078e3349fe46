"""What a Prometheus would read of a daemon."""

from http.client import HTTPConnection

from prometheus_client.parser import text_string_to_metric_families

from tests.conformance.run import PATIENCE_S

Samples = dict[tuple[str, str], float]
"""Values, by a metric's name and its labels; an empty one is none."""


def scraped(port: int) -> Samples:
    """Read metrics over loopback, once."""
    connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    return {
        (sample.name, ",".join(filter(None, sample.labels.values()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
