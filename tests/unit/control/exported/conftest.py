"""Files that several tests look at, exported once."""

from tests.exported import flow_checkpoint, flow_script

__all__ = ["flow_checkpoint", "flow_script"]
