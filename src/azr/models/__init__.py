"""Language models: names, loading, adapters, quantisation, the ones that ship."""
