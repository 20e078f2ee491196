"""A simulated CCTV world: a seed gives an untrimmed video with its truth. Crude figures, honest labels, no real people."""

from vlad.sim.events import ANOMALIES, NORMALS
from vlad.sim.stage import Event
from vlad.sim.world import World, simulate, simulate_clip, simulate_site, training_world, write_video

__all__ = [
    "ANOMALIES",
    "NORMALS",
    "Event",
    "World",
    "simulate",
    "simulate_clip",
    "simulate_site",
    "training_world",
    "write_video",
]
