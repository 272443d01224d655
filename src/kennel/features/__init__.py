"""Pretrained networks: their weights, and the features that scores and discriminators are computed from."""
