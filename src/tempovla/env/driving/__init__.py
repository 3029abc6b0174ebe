"""A small town to drive in: SUMO moves its traffic, MuJoCo draws it and shoots the rays of its sensors."""
