"""Reports for people: one HTML file, small videos, rerun recordings."""
