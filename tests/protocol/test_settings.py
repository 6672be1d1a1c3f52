"""The settings of a connection, and the hosts that a worker may download from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_segmind.exceptions import SegmindConfigError, SegmindForbiddenHostError
from airflow_provider_segmind.protocol.calls import Service
from airflow_provider_segmind.protocol.hosts import check_addresses, check_name, is_public, next_hop
from airflow_provider_segmind.protocol.settings import connection_settings

KEY = "SG_0123456789abcdef"


def settings(**values):
    return connection_settings({"api_key": KEY, **values}, where="connection 'c'")


def test_defaults_are_the_vendors_hosts():
    found = settings()
    assert found.base_url(Service.GATEWAY) == "https://api.segmind.com"
    assert found.base_url(Service.UPLOAD) == "https://workflows-api.segmind.com"
    assert found.base_url(Service.HISTORY) == "https://api.spotprod.segmind.com"
    for same in ("https://api.segmind.com/", "https://API.segmind.com", "https://api.segmind.com:443"):
        assert settings(gateway=same).upload_url == "https://workflows-api.segmind.com"


def test_another_gateway_serves_everything():
    found = settings(gateway="http://127.0.0.1:8080/")
    assert {found.base_url(service) for service in Service} == {"http://127.0.0.1:8080"}
    assert settings(gateway="proxy.example").gateway == "https://proxy.example"
    assert settings(gateway="https://g.example", upload_url="https://u.example").history_url == "https://g.example"


@pytest.mark.parametrize("host", ["127.0.0.1:1", "localhost:8080", "[::1]:9", "x.localhost"])
def test_plain_http_is_for_this_machine(host):
    assert settings(gateway=f"http://{host}").gateway == f"http://{host}"


def test_plain_http_elsewhere_needs_allow_http():
    with pytest.raises(SegmindConfigError, match="allow_http"):
        settings(gateway="http://gateway.internal")
    assert settings(gateway="http://gateway.internal", allow_http="true").allow_http
    with pytest.raises(SegmindConfigError, match="upload_url"):
        settings(upload_url="http://u.example")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"gateway": "ftp://x"}, "http"),
        ({"gateway": "https://user:pw@x"}, "plain address"),
        ({"gateway": 7}, "address"),
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"read_timeout": "soon"}, "read_timeout"),
        ({"read_timeout": "nan"}, "read_timeout"),
        ({"poll_error_timeout": -1}, "poll_error_timeout"),
        ({"poll_error_timeout": "nan"}, "poll_error_timeout"),
        ({"verify": 7}, "verify"),
        ({"output_hosts": 7}, "output_hosts"),
        ({"proxy": "proxy:3128"}, "proxy"),
        ({"proxy": "socks5://proxy:1080"}, "proxy"),
        ({"api_key": "SG_\nx"}, "api_key"),
        ({"api_key": "schlüssel"}, "api_key"),
    ],
)
def test_a_wrong_value_is_named_and_the_key_is_not(values, named):
    with pytest.raises(SegmindConfigError) as caught:
        settings(**values)
    assert named in str(caught.value)
    assert "connection 'c'" in str(caught.value)
    assert KEY not in str(caught.value)


def test_the_key_shows_nowhere():
    assert KEY not in repr(settings())
    assert KEY not in str(settings().model_dump())
    assert settings(api_key=f" {KEY}\n").api_key.get_secret_value() == KEY


def test_for_how_long_polls_may_be_refused():
    assert settings().poll_error_timeout == 60
    assert settings(poll_error_timeout="0").poll_error_timeout == 0
    assert settings(poll_error_timeout=600).poll_error_timeout == 600


def test_the_host_of_outputs_with_only_a_path():
    assert settings().outputs_url == "https://images.segmind.com"
    assert settings(gateway="http://127.0.0.1:8080").outputs_url == "http://127.0.0.1:8080"


def test_forms_of_the_extras():
    found = settings(verify="/etc/ca.pem", output_hosts="*.segmind.com, Cdn.Example", connect_timeout="3", proxy="")
    assert (found.verify, found.output_hosts) == ("/etc/ca.pem", ("*.segmind.com", "cdn.example"))
    assert (found.connect_timeout, found.proxy) == (3.0, None)
    assert settings(verify="False").verify is False
    assert settings(output_hosts=["a.example"]).output_hosts == ("a.example",)


PRIVATE = [
    "127.0.0.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd00:ec2::254",
    "::ffff:169.254.169.254",
    "::ffff:10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "2002:a9fe:a9fe::1",
    "ff02::1",
    "2001:db8::1",
    "::127.0.0.1",
    "::169.254.169.254",
    "::ffff:0:7f00:1",
    "64:ff9b:1::7f00:1",
    "fec0::1",
    "2001:470:1::5efe:7f00:1",
    "2001:470:1::200:5efe:a00:1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses(address):
    assert not is_public(address)
    with pytest.raises(SegmindForbiddenHostError, match="not a public address"):
        check_addresses("h.example", ["93.184.215.14", address])


@pytest.mark.parametrize("address", ["93.184.215.14", "1.1.1.1", "2606:4700::1111", "64:ff9b::101:101"])
def test_public_addresses(address):
    assert is_public(address)
    assert check_addresses("h.example", [address]) == address


def test_no_address_is_not_a_permission():
    with pytest.raises(SegmindForbiddenHostError, match="no address"):
        check_addresses("h.example", [])


@given(st.text(max_size=30))
def test_text_that_is_not_an_address_is_not_public(text):
    assert is_public(text) in (True, False)


def test_names():
    plain = settings()
    assert check_name("https://images.segmind.com/a.png", plain) is False
    own = settings(gateway="http://127.0.0.1:8080")
    assert check_name("http://127.0.0.1:8080/outputs/a.png", own) is True
    for url in (
        "http://127.0.0.1:8081/outputs/a.png",
        "https://127.0.0.1:8080/a.png",
        "http://images.segmind.com/a.png",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:10.0.0.1]/",
        "ftp://x/y",
        "file:///etc/passwd",
        "https://",
        "https://[",
        "not a url",
        "https://x:99999/",
        "https://localhost/",
        "https://a.localhost/",
        "https://2130706433/",
        "https://127.1/",
    ):
        with pytest.raises(SegmindForbiddenHostError):
            check_name(url, own)


def test_patterns_restrict_and_exact_names_allow_private_addresses():
    some = settings(output_hosts=["*.segmind.com", "store.internal"])
    assert check_name("https://images.segmind.com/a", some) is False
    assert check_name("https://IMAGES.segmind.com./a", some) is False
    assert check_name("https://store.internal/a", some) is True
    for url in ("https://segmind.com.evil.example/a", "https://other.example/a", "http://store.internal/a"):
        with pytest.raises(SegmindForbiddenHostError):
            check_name(url, some)
    relaxed = settings(output_hosts=["store.internal"], allow_http=True)
    assert check_name("http://store.internal/a", relaxed) is True


def test_redirects_resolve_against_the_hop_before():
    assert next_hop("https://a.example/x/y", "../z") == "https://a.example/z"
    assert next_hop("https://a.example/x", "//b.example/z") == "https://b.example/z"
    with pytest.raises(SegmindForbiddenHostError):
        next_hop("https://a.example/x", None)
