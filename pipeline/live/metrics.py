"""The run's figures for Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from pipeline.live.view import LATENCY_BUCKETS_S, LiveBoard

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
COUNTERS = {
    "frames": "Frames whose poses were written.",
    "dropped": "Frames of a live source that were too old to process.",
    "reconnects": "How often a lost source was found again.",
    "undecoded": "Packets of a source that gave no picture.",
}
GAUGES = {
    "people": "People in the newest frame.",
    "age_s": "Seconds since the last frame, or since the start before the first.",
}
NAMES = {"dropped": "dropped_frames", "undecoded": "undecoded_packets", "age_s": "seconds_since_last_frame"}


class LiveMetrics:
    """Reads a board whenever it is asked; nothing is counted twice."""

    def __init__(self, board: LiveBoard) -> None:
        self._board = board
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def text(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def describe(self) -> list[Metric]:
        """Nothing: the registry need not ask for values to know the names."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Counters, gauges and latencies of each source, viewers, and a summary of each stage's durations."""
        status = self._board.status()
        for key, words in {**COUNTERS, **GAUGES}.items():
            kind = CounterMetricFamily if key in COUNTERS else GaugeMetricFamily
            family = kind(f"darkstream_{NAMES.get(key, key)}", words, labels=["source"])
            for feed in status:
                family.add_metric([feed["name"]], feed[key])
            yield family
        viewers = self._board.watchers + self._board.listeners
        yield GaugeMetricFamily("darkstream_viewers", "Connections that are sent pictures or poses.", viewers)
        yield self._latencies()
        yield self._stages()

    def _latencies(self) -> Metric:
        words = "From the arrival of a frame to its poses."
        family = HistogramMetricFamily("darkstream_latency_seconds", words, labels=["source"])
        bounds = [*map(str, LATENCY_BUCKETS_S), "+Inf"]
        for name, within, total in self._board.latencies():
            family.add_metric([name], list(zip(bounds, accumulate(within), strict=True)), total)
        return family

    def _stages(self) -> Metric:
        words = "Duration of a stage, of all sources. Quantiles are of the last frames."
        family = Metric("darkstream_stage_seconds", words, "summary")
        for stage, row in self._board.stats.stages_ms().items():
            for key, quantile in (("p50", "0.5"), ("p95", "0.95"), ("p99", "0.99")):
                labels = {"stage": stage, "quantile": quantile}
                family.add_sample("darkstream_stage_seconds", labels, row[key] / 1000)
            family.add_sample("darkstream_stage_seconds_count", {"stage": stage}, row["count"])
            family.add_sample("darkstream_stage_seconds_sum", {"stage": stage}, row["total"] / 1000)
        return family
