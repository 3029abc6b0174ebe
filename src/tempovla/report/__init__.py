"""What a run looks like to a person: one HTML file, small videos, rerun recordings."""
