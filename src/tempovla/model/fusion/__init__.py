"""Token ordering and multi-modal fusion."""
