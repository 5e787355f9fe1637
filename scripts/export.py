"""`python scripts/export.py run=DIR format=onnx`: the student alone, as onnx, pt2 or safetensors."""

from distill.cli import export

if __name__ == "__main__":
    export()
