"""Envoy between gateway and vendor, with its fault filter. Its rates are changed over its admin port, as an operator would."""

import json
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "outside"))

from processes import Process, free_ports, http_session  # noqa: E402


class EnvoyProcess(Process):
    name = "envoy"

    def __init__(self, folder, upstream):
        port, self._admin_port = free_ports(2)
        self.url = f"http://127.0.0.1:{port}"
        self._admin = f"http://127.0.0.1:{self._admin_port}"
        self._http = http_session()
        host, upstream_port = upstream.split(":")
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "envoy.json"
        file.write_text(json.dumps(config(port, self._admin_port, host, int(upstream_port))))
        binary = shutil.which("envoy", path=str(pathlib.Path(sys.executable).parent)) or shutil.which("envoy")
        assert binary, "envoy is missing: scripts/load installs it"
        # One instance among many: no shared memory for hot restarts.
        super().__init__(binary, ["-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "error"], folder)

    def wait_until_ready(self):
        self.wait_until("its admin port", self._is_ready)

    def _is_ready(self):
        try:
            return self._http.get(f"{self._admin}/ready", timeout=2).text.strip() == "LIVE"
        except OSError:
            return False

    def plan(self, fault, one_in):
        """One in `one_in` meets the fault; 0: none."""
        percent = 100 // one_in if one_in else 0
        abort, delay = (percent, 0) if "abort" in fault else (0, percent)
        query = f"fault.http.abort.abort_percent={abort}&fault.http.delay.fixed_delay_percent={delay}"
        answer = self._http.post(f"{self._admin}/runtime_modify?{query}", timeout=5)
        assert answer.ok, answer.text


def config(port, admin_port, upstream_host, upstream_port):
    address = lambda host, number: {"socket_address": {"address": host, "port_value": number}}  # noqa: E731
    type_of = "type.googleapis.com/envoy.extensions.filters."
    faults = {
        "@type": f"{type_of}http.fault.v3.HTTPFault",
        "abort": {"http_status": 503, "percentage": {"numerator": 0}},
        "delay": {"fixed_delay": "3s", "percentage": {"numerator": 0}},
    }
    manager = {
        "@type": f"{type_of}network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "vendor",
        "http_filters": [
            {"name": "envoy.filters.http.fault", "typed_config": faults},
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{type_of}http.router.v3.Router"},
            },
        ],
        "route_config": {
            "virtual_hosts": [
                {"name": "vendor", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "vendor", "timeout": "0s"}}]}
            ]
        },
    }
    endpoint = {"endpoint": {"address": address(upstream_host, upstream_port)}}
    return {
        "admin": {"address": address("127.0.0.1", admin_port)},
        "layered_runtime": {"layers": [{"name": "admin", "admin_layer": {}}]},
        "static_resources": {
            "listeners": [
                {
                    "address": address("127.0.0.1", port),
                    "filter_chains": [
                        {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
                    ],
                }
            ],
            "clusters": [
                {
                    "name": "vendor",
                    "connect_timeout": "1s",
                    "load_assignment": {"cluster_name": "vendor", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ],
        },
    }
