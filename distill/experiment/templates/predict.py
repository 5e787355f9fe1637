"""Written by distill-export. `python predict.py FILE ...` names classes; needs onnxruntime, numpy and pillow alone."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

session = onnxruntime.InferenceSession(str(Path(__file__).with_name("student.onnx")))
way = {key: json.loads(text) for key, text in session.get_modelmeta().custom_metadata_map.items()}
for file in sys.argv[1:] or sys.exit(__doc__):
    try:
        image = ImageOps.exif_transpose(Image.open(file))
        image.load()
    except OSError as error:
        print(f"error: {file}: cannot be read as an image ({error})", file=sys.stderr)
        sys.exit(2)
    if image.mode[0] in "IF":  # 16 bits, or numbers in [0, 1]
        values = np.asarray(image) * (255.0 if image.mode == "F" else 1 / 257)
        image = Image.fromarray(values.round().clip(0, 255).astype(np.uint8))
    image = image.convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    image = image.convert("L" if way["channels"] == 1 else "RGB")
    side, shorter = way["resize"]["shorter_side"], min(image.size)
    image = image.resize([int(side * length / shorter) for length in image.size], Image.Resampling.BILINEAR)
    height, width = way["crop"]["height"], way["crop"]["width"]
    left, top = (round(d / 2) if d > 0 else int(d / 2) for d in (image.width - width, image.height - height))
    pixels = np.asarray(image.crop((left, top, left + width, top + height)), np.float32) / 255
    logits = session.run(None, {"images": pixels.reshape(1, height, width, -1).transpose(0, 3, 1, 2)})[0][0]
