from __future__ import annotations

import pytest

from llmatrix.sim.endpoint import Endpoint


def test_the_load_is_read_from_vllms_metrics() -> None:
    endpoint = Endpoint.at("http://127.0.0.1:8000")
    endpoint.read(
        b"# TYPE vllm:num_requests_waiting gauge\n"
        b'vllm:num_requests_waiting{engine="0",model_name="a b"} 3.0\n'
        b'vllm:num_requests_running{model_name="m"} 5\n'
        b'vllm:kv_cache_usage_perc{model_name="m"} 0.125\n'
        b'vllm:cache_config_info{block_size="16",num_gpu_blocks="77"} 1.0',
        9.0,
    )

    assert (endpoint.waiting, endpoint.running, endpoint.kv_usage) == (3.0, 5.0, 0.125)
    assert (endpoint.block_size, endpoint.blocks, endpoint.updated) == (16, 77, 9.0)


def test_the_old_name_of_the_usage_is_known_and_what_is_missing_stays() -> None:
    endpoint = Endpoint.at("http://127.0.0.1:8000")
    endpoint.waiting = 4.0
    endpoint.read(b"vllm:gpu_cache_usage_perc 0.5\nvllm:num_requests_waiting_x 7\n", 1.0)

    assert (endpoint.kv_usage, endpoint.waiting) == (0.5, 4.0)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:80",
        "http://host",
        "https://h:1",
        "http://h:x",
        "http://h:70000",
        "http://[::1:80",
        "http://user@h:80",
        "http://h:80/v1",
        "http://h:80?x",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is not a URL"):
        Endpoint.at(url)


@pytest.mark.parametrize("url", ["http://10.1.2.3:8000", "http://pod.ns.svc:80", "http://[::1]:80"])
def test_an_endpoint_tells_the_url_it_was_made_from(url: str) -> None:
    assert Endpoint.at(url).url == url
    assert Endpoint.at(f"{url}/").url == url
