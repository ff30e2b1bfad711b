"""What changes the weights of a trained network: reduction, another budget, export."""
