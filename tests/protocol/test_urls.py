"""URLs and URIs: what is one, and the canonical form of each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_segmind.protocol.redaction import with_masked_signatures
from airflow_provider_segmind.protocol.urls import Uri, canonical_uri, is_url, origin, split_uri


@pytest.mark.parametrize(
    ("uri", "canonical"),
    [
        ("https://user:secret@x.example/a?sig=abc#top", "https://x.example/a"),
        ("https://x.example?sig=abc", "https://x.example"),
        ("https://x.example/a@b/c", "https://x.example/a@b/c"),
        ("s3a://conn@bucket/a b/k?1.png", "s3://bucket/a b/k?1.png"),
        ("gcs://bucket/k", "gs://bucket/k"),
        ("local:///data/cat.png", "file:///data/cat.png"),
    ],
)
def test_canonical_uris(uri, canonical):
    assert canonical_uri(uri) == canonical
    assert canonical_uri(canonical) == canonical


@given(st.text())
def test_any_text_has_a_canonical_form_without_a_login(text):
    once = canonical_uri(text)
    assert canonical_uri(once).partition("://")[2] == once.partition("://")[2]
    assert "@" not in split_uri(once).authority


def test_the_parts_of_a_uri():
    assert split_uri("s3://conn@bucket/a/k.png") == Uri("s3", "bucket", "/a/k.png")
    assert split_uri("s3://bucket") == Uri("s3", "bucket", "")
    assert origin("https://x.example./a") == ("https", "x.example", 443)


@pytest.mark.parametrize(
    "value", ["", "x", "s3://b/k", "http://", "http://[", "https://x/a b", "https://x/" + "a" * 8192, 7]
)
def test_values_that_are_not_urls(value):
    assert not is_url(value)


def test_signatures_are_masked_wherever_they_are():
    quoted = "cannot read 'https://b.example/k?X-Amz-Date=1&X-Amz-Signature=abc', nor https://c/k%3Fsig%3Ddef"
    assert with_masked_signatures(quoted) == (
        "cannot read 'https://b.example/k?X-Amz-Date=1&X-Amz-Signature=***', nor https://c/k%3Fsig%3D***"
    )
