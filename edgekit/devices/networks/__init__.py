"""Networks written as ONNX, quantised, and lowered to the kernels the runtime runs."""
