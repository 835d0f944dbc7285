"""What in a galaxy's gas carries information on its star formation: the public face."""
