"""The records that summaries become."""

from __future__ import annotations

import logging

import msgspec

from penstock.schemas.comparison import ComparisonSummary
from penstock.schemas.comparison_wire import encode_comparison
from penstock.schemas.quality import QualitySummary, encode_quality
from penstock.schemas.summaries import Summary, encode_summary
from penstock.streams.delivery import OutputRecord

log = logging.getLogger("penstock.watch")

RECORD_LIMIT = 900_000
"""Bytes; a broker refuses a little more than a million."""

AnySummary = Summary | QualitySummary | ComparisonSummary


def record_of(summary: AnySummary, *, limit: int = RECORD_LIMIT) -> OutputRecord:
    """Key, value and headers on the summaries topic.

    A comparison has a group for each candidate and slice: one that is larger than `limit` goes without its slices, but
    for those of the gates. That is a line in the log; refused by the broker it would end the worker, each time anew.
    """
    match summary:
        case Summary():
            value, headers = encode_summary(summary)
        case QualitySummary():
            value, headers = encode_quality(summary)
        case ComparisonSummary():
            value, headers = encode_comparison(summary)
            if len(value) > limit:
                log.warning(
                    "The comparison of partition %d, segment %d takes %d bytes, a record holds %d: it goes without its "
                    "slices. Fewer labels.slices, candidates or watch.segment_rows would keep them.",
                    summary.partition,
                    summary.segment,
                    len(value),
                    limit,
                )
                value, headers = encode_comparison(_of_every_row(summary))
    return b"%d-%d" % (summary.partition, summary.segment), value, headers


def _of_every_row(comparison: ComparisonSummary) -> ComparisonSummary:
    return msgspec.structs.replace(
        comparison,
        pairs={group: sums for group, sums in comparison.pairs.items() if not group[-1]},
        labelled={group: sums for group, sums in comparison.labelled.items() if not group[-1]},
    )
