"""An MQTT broker that hears of alarms and cameras, and Home Assistant by it.

In: a target, cameras, messages. Out: topics, see `Broker`. paho-mqtt does the talking; the address is checked and connected to here.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

from vlad.errors import InputError
from vlad.library.tables import CameraRow, TargetRow

from .hosts import Lookup, Named, networks
from .post import SECONDS, FailedError, checked_hosts

log = logging.getLogger("vlad.live")
PORTS = {"mqtts": 8883, "mqtt": 1883}
PACE = 0.9  # seconds between two looks at what a broker is to be told of cameras
RULE = "anomaly"  # of ONVIF's events: the one rule that is told of
FRESH = 30.0  # seconds for which what is told of a camera counts


def login(secret: str) -> tuple[str, str]:
    """user:password of a secret. Raises InputError."""
    user, colon, password = secret.partition(":")
    if not colon or not user:
        raise InputError("target: expected a user and a password, as user:password")
    return user, password


class Broker:
    """One connection to an MQTT broker. Topics, by the camera's id: PREFIX/ID/alarm (ON, OFF; retained), score (retained), event (JSON with a key), status, and PREFIX/status, which
    the broker itself sets to offline once nobody is here. With `discovery` (homeassistant; '' for none) Home Assistant finds each camera by itself. PREFIX/onvif-ej/... says the
    same as PREFIX/ID/alarm as an ONVIF property event (ONVIF Core Specification, "Event broker": topic structure and JSON payload), retained."""

    def __init__(self, target: TargetRow, lookup: Lookup = socket.getaddrinfo) -> None:
        self.target, self.lookup = target, lookup
        self.prefix = str(target.settings.get("prefix") or "vlad").strip("/")
        self.discovery = str(target.settings.get("discovery", "homeassistant")).strip("/")
        self._client: Any = None
        self._lock = threading.RLock()
        self._told: dict[str, str] = {}  # by topic, what is retained there by now
        self._known: set[str] = set()  # ids of cameras
        self._names: dict[str, str] = {}
        self._next, self._failures = 0.0, 0

    @property
    def connected(self) -> bool:
        """Whether the broker answers."""
        return self._client is not None and bool(self._client.is_connected())

    def due(self) -> bool:
        """Whether it is to be looked after: at once where it is connected, after a while where that failed."""
        return time.monotonic() >= self._next

    def failed(self, why: str) -> None:
        """It could not be reached: it is tried again later, and after longer with each time."""
        self._failures += 1
        self._next = time.monotonic() + min(60.0, 2.0**self._failures)
        log.warning("broker %s: %s", self.target.name, why)

    def connect(self, secret: str, cameras: Sequence[CameraRow]) -> None:
        """Unless it is. Raises FailedError, InputError, OSError."""
        from paho.mqtt.client import Client
        from paho.mqtt.enums import CallbackAPIVersion

        with self._lock:
            if self.connected:
                return
            self._drop()
            parts, allow = urlsplit(self.target.address), networks(self.target.settings.get("allow") or ())
            host, port = parts.hostname or "", parts.port or PORTS[parts.scheme]
            address = checked_hosts(host, port, allow, self.lookup, plain=parts.scheme == "mqtt")[0]
            client = Client(CallbackAPIVersion.VERSION2, f"vlad-{self.target.id[:8]}-{uuid4().hex[:6]}", reconnect_on_failure=False)  # fmt: skip
            if parts.scheme == "mqtts":
                client.tls_set_context(Named.of(host, str(self.target.settings.get("authorities") or "")))
            if secret:
                client.username_pw_set(*login(secret))
            client.will_set(f"{self.prefix}/status", "offline", qos=1, retain=True)
            client.connect_timeout = SECONDS
            answered, code = threading.Event(), [""]

            def on_connect(client: Any, data: Any, flags: Any, reason: Any, properties: Any) -> None:
                code[0] = str(reason) if reason.is_failure else ""
                client.subscribe(f"{self.prefix}/status", 1)
                answered.set()

            def on_message(client: Any, data: Any, message: Any) -> None:
                if message.payload == b"offline":  # another server of this library is gone, and this one is here
                    self._told.pop(f"{self.prefix}/status", None)

            client.on_connect, client.on_message = on_connect, on_message
            client.connect(address, port, keepalive=30)
            client.loop_start()
            self._client = client
            if not answered.wait(SECONDS) or code[0]:
                self._drop()
                raise FailedError(f"the broker refused ({code[0][:60]})" if code[0] else "it did not answer in time")
            self._told, self._failures = {}, 0
            self._retain(f"{self.prefix}/status", "online")
            self._announce(cameras)

    def announce(self, cameras: Sequence[CameraRow], now: float) -> None:
        """Cameras that came, went, or have a new state or score."""
        with self._lock:
            self._next = time.monotonic() + PACE
            self._retain(f"{self.prefix}/status", "online")
            self._announce(cameras)
            for camera in cameras:
                state = camera.state or {}
                on = state.get("state") in ("on", "slow") and now - (camera.told or 0.0) < FRESH
                self._retain(f"{self.prefix}/{camera.id}/status", "online" if on else "offline")
                if on and state.get("score") is not None:
                    self._retain(f"{self.prefix}/{camera.id}/score", f"{float(state['score']):.2f}", qos=0)

    def state(self, camera: CameraRow, going: bool) -> None:
        """Whether an alarm of a camera goes on."""
        with self._lock:
            self._state(camera.id, camera.name, going)

    def tell(self, payload: Mapping[str, Any], going: bool) -> None:
        """A message, taken by the broker once this returns. Raises FailedError."""
        with self._lock:
            name = payload.get("camera", "")
            ids = {v: k for k, v in self._names.items()}
            place = ids.get(name, "test" if payload["type"] == "test" else "other")
            if place not in ("test", "other"):
                self._state(place, name, going)
            self._publish(f"{self.prefix}/{place}/event", json.dumps(payload), qos=1, retain=False)

    def _state(self, camera_id: str, name: str, going: bool) -> None:
        topic, told = f"{self.prefix}/{camera_id}/alarm", "ON" if going else "OFF"
        if self._told.get(topic) != told:
            moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
            source, data = {"VideoSource": camera_id, "Rule": RULE}, {"State": going, "Camera": name}
            self._retain(self._onvif(camera_id), json.dumps({"UtcTime": moment, "Source": source, "Data": data}))
            self._retain(topic, told)

    def _onvif(self, camera_id: str) -> str:
        return f"{self.prefix}/onvif-ej/RuleEngine/vlad:Anomaly/&{camera_id}/{RULE}"

    def close(self) -> None:
        """Nobody is here any more."""
        with self._lock:
            if self.connected:
                with suppress(FailedError):
                    self._publish(f"{self.prefix}/status", "offline", qos=1, retain=True)
            self._drop()

    def _announce(self, cameras: Sequence[CameraRow]) -> None:
        self._names = {c.id: c.name for c in cameras}
        for gone in self._known - set(self._names):
            for topic in (*self._found(gone, ""), f"{self.prefix}/{gone}/alarm", f"{self.prefix}/{gone}/score", f"{self.prefix}/{gone}/status", self._onvif(gone)):  # fmt: skip
                self._retain(topic, "")
        self._known = set(self._names)
        for camera in cameras:
            for topic, told in self._found(camera.id, camera.name).items():
                self._retain(topic, told)

    def _found(self, camera_id: str, name: str) -> dict[str, str]:
        """Topics by which Home Assistant finds a camera, and what stands there."""
        if not self.discovery:
            return {}
        own = f"{self.prefix}/{camera_id}"
        shared = {
            "device": {"identifiers": [f"vlad_{camera_id}"], "name": name, "manufacturer": "vlad"},
            "origin": {"name": "vlad"},
            "availability": [{"topic": f"{self.prefix}/status"}, {"topic": f"{own}/status"}],
            "availability_mode": "all",
        }
        alarm = {"name": "Alarm", "unique_id": f"vlad_{camera_id}_alarm", "state_topic": f"{own}/alarm", "device_class": "safety", "json_attributes_topic": f"{own}/event"}  # fmt: skip
        score = {"name": "Score", "unique_id": f"vlad_{camera_id}_score", "state_topic": f"{own}/score", "state_class": "measurement", "suggested_display_precision": 2}  # fmt: skip
        return {
            f"{self.discovery}/binary_sensor/vlad_{camera_id}/alarm/config": json.dumps({**alarm, **shared}),
            f"{self.discovery}/sensor/vlad_{camera_id}/score/config": json.dumps({**score, **shared}),
        }

    def _retain(self, topic: str, told: str, *, qos: int = 1) -> None:
        if self._told.get(topic) != told:
            self._publish(topic, told, qos=qos, retain=True)
            self._told[topic] = told

    def _publish(self, topic: str, told: str, *, qos: int, retain: bool) -> None:
        if self._client is None:
            raise FailedError("it is not connected")
        sent = self._client.publish(topic, told, qos=qos, retain=retain)
        try:
            sent.wait_for_publish(SECONDS)
        except (RuntimeError, ValueError):
            raise FailedError("the broker went away") from None
        if not sent.is_published():
            self._drop()
            raise FailedError("the broker did not take it in time")

    def _drop(self) -> None:
        if self._client is not None:
            self._client.disconnect()
            self._client.loop_stop()
            self._client = None
