"""From a model and a batch of prompts to the influence of every component."""
