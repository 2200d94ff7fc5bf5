"""A real Envoy before the gateway, as a sidecar or an ingress would be: it shares few upstream connections among all its clients."""

import json
import pathlib
import sys

from processes import Process, free_ports, http_session


class MeshProcess(Process):
    """Envoy on a loopback port, HTTP/2 to both sides, no retries."""

    name = "envoy"

    def __init__(self, folder, upstreams):
        port, self._admin_port = free_ports(2)
        self.grpc_address = f"127.0.0.1:{port}"
        self._admin = f"http://127.0.0.1:{self._admin_port}"
        self._http = http_session()
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "mesh.json"
        file.write_text(json.dumps(_config(port, self._admin_port, upstreams)))
        binary = pathlib.Path(sys.executable).parent / "envoy"
        # One thread: every client shares the same upstream connections. One instance among many: no shared memory.
        args = ["-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
        super().__init__(binary, args, folder)

    def wait_until_ready(self):
        self.wait_until("its health checks", self.has_only_healthy_upstreams)

    def has_only_healthy_upstreams(self):
        try:
            text = self._http.get(f"{self._admin}/clusters", timeout=2).text
        except OSError:
            return False
        return "health_flags::healthy" in text and "failed_active_hc" not in text

    def counter(self, name):
        text = self._http.get(f"{self._admin}/stats?filter=^{name}$", timeout=2).text
        return int(text.rsplit(":", 1)[1])


def _address(host, port):
    return {"socket_address": {"address": host, "port_value": int(port)}}


def _config(port, admin_port, upstreams):
    extensions = "type.googleapis.com/envoy.extensions"
    http2 = {
        "@type": f"{extensions}.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
    # Streams and long polls: no timeout of the route.
    route = {"match": {"prefix": "/"}, "route": {"cluster": "gateway", "timeout": "0s"}}
    manager = {
        "@type": f"{extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "callers",
        "codec_type": "HTTP2",
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{extensions}.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {"virtual_hosts": [{"name": "gateway", "domains": ["*"], "routes": [route]}]},
    }
    filters = [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]
    endpoints = [{"endpoint": {"address": _address(*upstream.split(":"))}} for upstream in upstreams]
    health_check = {
        "timeout": "1s",
        "interval": "0.5s",
        "healthy_threshold": 1,
        "unhealthy_threshold": 1,
        "no_traffic_interval": "0.5s",
        "grpc_health_check": {},
    }
    cluster = {
        "name": "gateway",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": http2},
        "health_checks": [health_check],
        "load_assignment": {"cluster_name": "gateway", "endpoints": [{"lb_endpoints": endpoints}]},
    }
    return {
        "admin": {"address": _address("127.0.0.1", admin_port)},
        "static_resources": {
            "listeners": [{"address": _address("127.0.0.1", port), "filter_chains": [{"filters": filters}]}],
            "clusters": [cluster],
        },
    }
