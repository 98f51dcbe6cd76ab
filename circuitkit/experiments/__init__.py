"""Named studies built from the measuring layers."""
