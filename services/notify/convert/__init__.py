"""Messages of the contracts and values of the model, each made of the other."""
