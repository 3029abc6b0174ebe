"""nuScenes' files: read as episodes, and written."""
