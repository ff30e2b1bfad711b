"""Changes to the weights of a trained network: reduction, another budget, export."""
