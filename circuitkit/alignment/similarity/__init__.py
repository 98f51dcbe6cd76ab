"""How alike the activations of two models are, component by component; one method a file."""
