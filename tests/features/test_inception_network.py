import torch

from kennel.features.inception import Inception
from kennel.features.inception_network import InceptionGraph
from kennel.features.weights import LoadedWeights


def test_the_state_has_the_566_names_of_the_published_file_and_its_number_of_values() -> None:
    state = InceptionGraph().state_dict()
    assert len(state) == 94 * 6 + 2
    assert state["fc.weight"].shape == (1008, 2048)
    assert state["Mixed_5b.branch5x5_2.conv.weight"].shape == (64, 48, 5, 5)
    assert state["Mixed_6c.branch7x7dbl_3.conv.weight"].shape == (160, 160, 1, 7)
    assert state["Mixed_7c.branch3x3dbl_3b.conv.weight"].shape == (384, 384, 3, 1)
    assert state["Mixed_7a.branch7x7x3_4.bn.running_var"].shape == (192,)
    # The published file's 95,628,359 bytes: these as 4-byte floats, 94 counters of 8, and the frame.
    assert sum(tensor.numel() for tensor in state.values()) == 23_885_486


def test_folding_the_batch_norms_leaves_the_features_as_they_are(
    random_inception_state: dict[str, torch.Tensor],
) -> None:
    network = InceptionGraph().eval()
    network.load_state_dict(random_inception_state)
    images = torch.rand(1, 3, 299, 299) * 2 - 1
    with torch.inference_mode():
        before, _ = network(images)
        network.fold()
        after, _ = network(images)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4 * float(before.std()))


def test_grey_pictures_give_the_features_of_their_repeated_channel(
    random_inception_state: dict[str, torch.Tensor],
) -> None:
    extractor = Inception(LoadedWeights(dict(random_inception_state), "tensors:random"))
    grey = torch.randint(0, 256, (1, 1, 32, 32), dtype=torch.uint8)
    extracted = extractor.extract(grey)
    assert extracted.features.shape == (1, 2048)
    assert extracted.logits is not None
    assert extracted.logits.shape == (1, 1008)
    torch.testing.assert_close(extracted.features, extractor.extract(grey.repeat(1, 3, 1, 1)).features)
