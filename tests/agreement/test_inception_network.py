"""The Inception network from uint8 pictures on, with the same random weights, beside torch-fidelity's and
torchmetrics'."""

import numpy as np
import pytest
import torch

from kennel.features.inception import Inception
from kennel.features.inception_graph import InceptionGraph
from kennel.features.resize import tensorflow1_bilinear
from kennel.features.weights import LoadedWeights
from kennel.metrics.inception_score import inception_score

TAPS = ("64", "192", "768", "2048", "logits_unbiased", "logits")


@pytest.fixture(scope="module")
def weights_file(random_inception_state, tmp_path_factory):
    """The random state as a file of the published one's format."""
    file = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(random_inception_state, file)
    return str(file)


@pytest.fixture(scope="module")
def crops(photos):
    """Six crops of 48x64 of the two photographs, uint8 (6, 3, 48, 64)."""
    places = ((0, 0), (150, 250), (300, 500))
    parts = [photo[top : top + 48, left : left + 64] for photo in photos for top, left in places]
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).contiguous()


@pytest.fixture(scope="module")
def of_torch_fidelity(reference_module, weights_file, crops):
    """Every output of torch-fidelity's network for the crops, and its state's shapes."""
    module = reference_module("torch_fidelity.feature_extractor_inceptionv3")
    network = module.FeatureExtractorInceptionV3(
        "reference", list(TAPS), feature_extractor_weights_path=weights_file
    )
    with torch.inference_mode():
        outputs = dict(zip(TAPS, network(crops), strict=True))
    return outputs, {name: tensor.shape for name, tensor in network.state_dict().items()}


def test_every_output_of_the_graph_is_torch_fidelity_s(
    random_inception_state, crops, of_torch_fidelity, agree
):
    outputs, shapes = of_torch_fidelity
    network = InceptionGraph().eval()
    network.load_state_dict(random_inception_state)
    assert {name: tensor.shape for name, tensor in network.state_dict().items()} == shapes
    with torch.inference_mode():
        found = network.taps((tensorflow1_bilinear(crops, 299) - 128) / 128)
    for tap in TAPS:
        agree(f"Inception output {tap}", found[tap].numpy(), outputs[tap].numpy(), "torch-fidelity")
        spread = float(outputs[tap].std())
        torch.testing.assert_close(found[tap], outputs[tap], rtol=1e-5, atol=1e-5 * spread)


@pytest.mark.parametrize("biased", [False, True])
def test_the_inception_score_of_pictures_is_torch_fidelity_s(
    biased, random_inception_state, crops, of_torch_fidelity, agree, reference_module
):
    tap = "logits" if biased else "logits_unbiased"
    loaded = LoadedWeights(random_inception_state, "tensors:random")
    extracted = Inception(loaded, biased_logits=biased).extract(crops)
    theirs = of_torch_fidelity[0]
    because = "batch norms are folded into the convolutions, in float32"
    for name, found, expected in (
        ("features", extracted.features, theirs["2048"]),
        (tap, extracted.logits, theirs[tap]),
    ):
        agree(
            f"Inception extractor, {name}", found.numpy(), expected.numpy(), "torch-fidelity", 1e-5, because
        )
    score = reference_module("torch_fidelity.metric_isc").isc_features_to_metric(theirs[tap], 2)
    ours = inception_score(extracted.logits.numpy(), 2)
    quantity = f"Inception Score from pictures, {tap}"
    agree(quantity, ours.mean, score["inception_score_mean"], "torch-fidelity", 1e-5, because)


def test_torchmetrics_resizes_with_antialias_unless_told_otherwise(
    random_inception_state, weights_file, crops, agree, differ, reference_module
):
    module = reference_module("torchmetrics.image.fid")
    network = module.NoTrainInceptionV3("reference", ["2048"], weights_file)
    pictures = []
    network.Conv2d_1a_3x3.register_forward_pre_hook(lambda _, inputs: pictures.append(inputs[0]))
    with torch.inference_mode():
        by_default = network(crops[:2])
        network.use_antialias = False
        as_the_graph = network(crops[:2])
    extractor = Inception(LoadedWeights(random_inception_state, "tensors:random"))
    ours = extractor.extract(crops[:2]).features.numpy()
    antialiased = torch.nn.functional.interpolate(
        crops[:2].float(), (299, 299), mode="bilinear", align_corners=False, antialias=True
    )
    torch.testing.assert_close(pictures[0], (antialiased - 128) / 128)
    torch.testing.assert_close(pictures[1], extractor.scaled(crops[:2]))
    agree(
        "Inception features, torchmetrics with antialias=False",
        ours,
        as_the_graph.numpy(),
        "torchmetrics",
        1e-5,
        "batch norms are folded into the convolutions, in float32",
    )
    differ(
        "Inception features of 64x48",
        ours,
        by_default.numpy(),
        "torchmetrics",
        "its default since 1.8.0 is half-pixel bilinear with antialias",
        least=1e-3,
    )
