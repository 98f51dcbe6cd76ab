"""Every experiment of Distilled Circuits on every pair at hand, beside the published figures."""
