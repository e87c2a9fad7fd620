"""Language models: loading, adapters, quantisation, and the models that ship."""
