"""What judges other implementations: variants of the reference, the noise of float32, the mistakes that ports make."""
