"""From a candidate to an artifact: ONNX, quantising, bundles, and their measured proof."""
