"""Values of tables for deploy/*.toml, beside those of sources, which are with their drivers (drivers/kinds.py).

A key `#name` is shown as one that is not set.
"""

from typing import Any

EXAMPLE: dict[str, Any] = {
    "gateway": {
        "name": "henhouse-3.example.farm",
        "data_dir": "/var/lib/fieldgate",
        "key": "file:/etc/fieldgate/log.key",
        "#key_passphrase": "credential:log.passphrase",
        "read_key": "file:/etc/fieldgate/read.key",
        "#sm2_key": "file:/etc/fieldgate/sm2.key",
        "#digests": ["sha-256", "sm3"],
    },
    "broker": {
        "local": {
            "url": "mqtt://127.0.0.1:1883",
            "window": 1_000,
            "#user": "fieldgate",
            "#password": "file:/etc/fieldgate/mqtt.password",
        },
        "quay": {
            "url": "mqtts://broker.quay.example:8883",
            "#client_id": "fieldgate-henhouse-3",
            "#ca_file": "/etc/fieldgate/quay-ca.pem",
            "#cert_file": "/etc/fieldgate/quay-client.pem",
            "#key_file": "/etc/fieldgate/quay-client.key",
        },
    },
    "node": {
        "coop": {
            "url": "https://node.coop.example:8441",
            "seen_key": "node.coop.example+f2eef5e9+BE/lsLdI8s0kDadUbXx5ZcyZgAERAPrN2hvesIgEsMBq",
            "stored_key": "node.coop.example/stored+8f5ba6b2+BP1ogvpbxVULUnh/E4j4M0f//q8GWA9ByeFSgWSS9L7H",
            "read_key": "node.coop.example/read+71168452+Ac/E7KzWMnzktC9X8owelQZBcbZ+6C8/cYuCsYs/S2aO",
            "share": ["*"],
            "#ca_file": "/etc/fieldgate/coop-ca.pem",
            "#stored_from": 1_200,
        },
    },
    "witness": {
        "public": {
            "url": "https://witness.example",
            "vkey": "witness.example+7184a3fe+BHh6F8QDYwoJfUqVVg+CKwt7Fc7iinDG0GKhYmB86e3s",
            "#ca_file": "/etc/fieldgate/witness-ca.pem",
        },
    },
    "web": {
        "#authority": ["henhouse-3.farm.example:8440"],
        "#cert_file": "/etc/fieldgate/web.pem",
        "#key_file": "/etc/fieldgate/web.key",
        "#watch_token": "file:/etc/fieldgate/watch.token",
    },
    "status": {"#broker": "local"},
}

NODE_EXAMPLE: dict[str, Any] = {
    "node": {
        "name": "node.coop.example",
        "listen": "0.0.0.0:8441",
        "authority": ["node.coop.example:8441"],
        "data_dir": "/var/lib/fieldgate-node/data",
        "seen_key": "file:/var/lib/fieldgate-node/seen.key",
        "stored_key": "file:/var/lib/fieldgate-node/stored.key",
        "read_key": "file:/var/lib/fieldgate-node/read.key",
        "cert_file": "/var/lib/fieldgate-node/cert.pem",
        "key_file": "/var/lib/fieldgate-node/cert.key",
    },
    "gateway": {
        "henhouse-3": {
            "vkey": "henhouse-3.example.farm/1+42dda231+AYZhyLn2bw0dV68zZ6prFoQHuSVGyoafr/1/v3+Z5i36",
            "consumers": ["dairy.example/reader+1791d5d3+AeLoqvp9AEl4S4zPOEeC6yrXp48ZGOb3sfBAFf+QYDdz"],
            "#frozen_at": 41_200,
        },
        "quay": {
            "vkey": "quay.example/1+6c0bc3b1+AQHzNkU4tkPn1P5hq8TBCQYA6vSIXdjOf5nAOpU9CEdB",
            "pull": "https://quay.example:8440",
            "ca_file": "/var/lib/fieldgate-node/quay-ca.pem",
        },
    },
}
