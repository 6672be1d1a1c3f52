"""What makes two requests the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_segmind.protocol.identity import KEY_LENGTH, canonical_parameters, fingerprint, key_of
from airflow_provider_segmind.protocol.urls import without_signature

AWS = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260801T000000Z&X-Amz-Expires=60&X-Amz-Signature="
AZURE = "sv=2026-01-01&se=2026-08-01T00%3A00%3A00Z&sr=b&sp=r&sig="


def test_a_fingerprint_is_of_the_inputs_only():
    assert fingerprint("m", {"a": 1, "b": 2}, "g") == fingerprint("m", {"b": 2, "a": 1}, "g")
    others = [("n", {"a": 1}, "g"), ("m", {"a": 2}, "g"), ("m", {"a": 1}, "h"), ("m", {"a": "1"}, "g")]
    assert len({fingerprint(*other) for other in others} | {fingerprint("m", {"a": 1}, "g")}) == 5


def test_a_fingerprint_stays_the_same_from_version_to_version():
    """If it changed, no record would be found again, and each request would be billed twice."""
    known = "db0f0696782673741a999ee871add7d83375f596006b10dbdf875de70dd859a8"
    assert fingerprint("esrgan", {"image": "https://x.example/a.png", "scale": 2}, "https://g") == known


def test_a_key_depends_on_all_that_makes_a_request():
    keys = {key_of(m, {"image": i}, g) for m in ("a", "b") for i in ("x", "y") for g in ("http://1", "http://2")}
    assert len(keys) == 8
    assert {len(key) for key in keys} == {KEY_LENGTH}
    assert fingerprint("a", {"image": "x"}, "http://1").startswith(key_of("a", {"image": "x"}, "http://1"))


@pytest.mark.parametrize(
    "signed",
    [
        AWS,
        AZURE,
        "Expires=1785542400&Signature=",
        "Policy=abc&Key-Pair-Id=K1&Signature=",
        "AWSAccessKeyId=A&Expires=1&Signature=",
        "X-Goog-Algorithm=GOOG4&X-Goog-Signature=",
    ],
)
def test_a_freshly_signed_url_is_the_same_input(signed):
    first, second = ({"image": f"https://x.example/a.png?part=1&{signed}{made}"} for made in ("abc", "def"))
    assert key_of("m", first, "g") == key_of("m", second, "g")
    assert without_signature(first["image"]) == "https://x.example/a.png?part=1"
    other = {"image": first["image"].replace("part=1", "part=2")}
    assert key_of("m", other, "g") != key_of(
        "m", first, "g"
    )  # a parameter that is not a signature may mean another image


def test_signatures_do_not_count_wherever_they_stand():
    first, second = ({"images": [{"url": f"https://x.example/a?{AWS}{made}"}]} for made in ("abc", "def"))
    assert canonical_parameters(first) == canonical_parameters(second) == {"images": [{"url": "https://x.example/a"}]}


@pytest.mark.parametrize(
    "url",
    [
        "https://x.example/a.png",
        "https://x.example/a.png?expires=soon&se=1",  # means something of a signature only beside one
        "https://x.example/a.png?v=2#top",
        "no url?sig=abc",
        "a prompt? https://x.example/?sig=abc",
    ],
)
def test_what_is_not_signed_stays_as_it_is(url):
    assert canonical_parameters({"image": url}) == {"image": url}


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(
    st.text(), x)))  # fmt: skip
def test_parameters_without_urls_are_their_own_identity(value):
    assert canonical_parameters(canonical_parameters(value)) == canonical_parameters(value)
    assert fingerprint("m", {"a": value}, "g") == fingerprint("m", {"a": canonical_parameters(value)}, "g")
