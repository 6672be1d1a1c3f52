"""How long Segmind keeps what it made, and how many calls of one task run at once. Pure."""

from __future__ import annotations

#: Seconds from the submit for which Segmind keeps a request's record (source: docs, "Async requests").
RECORD_LIVES = 3600.0
#: Seconds for which a record surely is there: an id that is unknown earlier is not known everywhere yet.
RECORD_SURE = 55 * 60.0
#: Seconds for which outputs live (source: a catalogue of the vendor's documentation, August 2026).
OUTPUT_LIVES = 7 * 24 * 3600.0
#: Calls of one task at once: connections of its client, submits of a group, objects stored.
AT_ONCE = 4
