"""What each component does: roles of heads and MLPs, each with its evidence and its doubts."""
