"""How long Segmind keeps records and outputs, and how many calls one task runs at once. Pure."""

from __future__ import annotations

#: Seconds from the submit for which Segmind keeps a request's record (source: docs, "Async requests").
RECORD_LIVES = 3600.0
#: Seconds for which a record is certainly kept: if an id is unknown before, not every server knows it yet.
RECORD_SURE = 55 * 60.0
#: Seconds for which Segmind keeps outputs (source: a catalogue of the vendor's documentation, August 2026).
OUTPUT_LIVES = 7 * 24 * 3600.0
#: Calls that one task runs at once: connections of its client, submits of a group, objects being stored.
AT_ONCE = 4
