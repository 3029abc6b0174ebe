"""Settings of the driving simulator that are cheap, and what it needs."""

from tempovla.env.driving.config import DrivingConfig

SMALL = DrivingConfig(
    town="crossing",
    image_height=32,
    image_width=56,
    supersample=1,
    vehicles=8,
    pedestrians=6,
    route_least_m=100.0,
    route_most_m=150.0,
    lidar_azimuths=120,
    max_steps=60,
)
"""Settings of a town that is cheap to make and to draw."""
NEEDS = ("libsumo", "sumo", "sumolib", "mujoco", "cv2", "gymnasium")
