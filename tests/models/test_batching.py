"""What a batch changes for the images in it."""

import torch

from deta.models.postprocess import NMS
from tests.models.tiny import images, tiny_detector


def test_images_of_one_size_are_detected_alike_in_any_batch() -> None:
    detector = tiny_detector().eval()
    pixels, _ = images(num_images=3)
    is_padding = torch.zeros(3, *pixels.shape[2:], dtype=torch.bool)
    sizes = torch.tensor([[480, 640]] * 3)
    postprocess = NMS(max_detections=20)
    with torch.no_grad():
        together = postprocess(detector(pixels, is_padding).final, sizes)
        alone = [
            postprocess(detector(pixels[k : k + 1], is_padding[k : k + 1]).final, sizes[k : k + 1]) for k in range(3)
        ]
    for name in ("boxes", "scores", "labels", "is_detection"):
        found = torch.cat([getattr(detections, name) for detections in alone])
        torch.testing.assert_close(found, getattr(together, name), rtol=1e-4, atol=1e-3)
