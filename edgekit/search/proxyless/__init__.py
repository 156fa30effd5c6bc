"""ProxylessNAS: architecture and precision by gradients through binarised paths."""
