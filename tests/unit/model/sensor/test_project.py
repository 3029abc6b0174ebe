import torch

from tempovla.model.sensor.project import project
from tempovla.model.sensor.unproject import transform_points, unproject


def test_points_of_pixels_are_seen_in_the_middle_of_these():
    generator = torch.Generator().manual_seed(0)
    depth = torch.rand(2, 3, 4, 5, generator=generator, dtype=torch.float64) * 20 + 1
    intrinsics = torch.tensor([[30.0, 2.0, 2.6], [0.0, 31.0, 1.9], [0.0, 0.0, 1.0]]).double().expand(2, 3, 3, 3)
    turns = torch.linalg.qr(torch.randn(2, 3, 3, 3, generator=generator, dtype=torch.float64)).Q
    poses = torch.eye(4, dtype=torch.float64).repeat(2, 3, 1, 1)
    poses[..., :3, :3], poses[..., :3, 3] = turns, torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    points = transform_points(unproject(depth, intrinsics), poses).flatten(-2).transpose(-1, -2)
    for camera in range(3):
        seen = project(points[:, camera], intrinsics, poses)
        rows, columns = torch.meshgrid(torch.arange(4) + 0.5, torch.arange(5) + 0.5, indexing="ij")
        assert seen.ahead[:, camera].all()
        assert torch.allclose(seen.column[:, camera], columns.flatten().double(), rtol=0, atol=1e-9)
        assert torch.allclose(seen.row[:, camera], rows.flatten().double(), rtol=0, atol=1e-9)
        assert torch.allclose(seen.depth[:, camera], depth[:, camera].flatten(1), rtol=0, atol=1e-9)


def test_points_behind_a_camera_are_not_ahead():
    points = torch.tensor([[[0.0, 0.0, 5.0], [0.0, 0.0, -5.0], [1.0, 0.0, 0.0]]])
    seen = project(points, torch.eye(3).view(1, 1, 3, 3), torch.eye(4).view(1, 1, 4, 4))
    assert seen.ahead[0, 0].tolist() == [True, False, False]
    assert seen.depth[0, 0].tolist() == [5.0, 1.0, 1.0]
