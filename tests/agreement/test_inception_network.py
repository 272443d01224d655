"""The Inception network from uint8 pictures on, with the same random weights, beside torch-fidelity's and
torchmetrics'."""

import numpy as np
import pytest
import torch

from kennel.evaluation.metrics.inception_score import inception_score
from kennel.evaluation.metrics.kid import kid
from kennel.features.inception import Inception
from kennel.features.inception_network import InceptionGraph
from kennel.features.resize import tensorflow1_bilinear
from kennel.features.weights import LoadedWeights

TAPS = ("64", "192", "768", "2048", "logits_unbiased", "logits")
FOLDED = "batch norms are folded into the convolutions here, in float32"


@pytest.fixture(scope="module")
def crops(photos):
    """Six crops of 48x64 of the temple, then six of the flower, uint8 (12, 3, 48, 64)."""
    places = ((0, 0), (0, 500), (150, 250), (200, 100), (300, 300), (370, 570))
    parts = [photo[top : top + 48, left : left + 64] for photo in photos for top, left in places]
    return torch.from_numpy(np.stack(parts)).permute(0, 3, 1, 2).contiguous()


@pytest.fixture(scope="module")
def state(random_inception_state, crops):
    """Random weights whose last layer tells the crops apart: blind to what their features have in common."""
    network = InceptionGraph().eval()
    network.load_state_dict(random_inception_state)
    with torch.inference_mode():
        common = network((tensorflow1_bilinear(crops[::3], 299) - 128) / 128)[0].mean(0)
    common = common / common.norm()
    weight = random_inception_state["fc.weight"]
    return {**random_inception_state, "fc.weight": weight - torch.outer(weight @ common, common)}


@pytest.fixture(scope="module")
def weights_file(state, tmp_path_factory):
    """The random state as a file of the published one's format."""
    file = tmp_path_factory.mktemp("weights") / "random.pth"
    torch.save(state, file)
    return str(file)


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


def test_every_output_of_the_graph_is_torch_fidelity_s(state, crops, of_torch_fidelity, agree):
    outputs, shapes = of_torch_fidelity
    network = InceptionGraph().eval()
    network.load_state_dict(state)
    assert {name: tensor.shape for name, tensor in network.state_dict().items()} == shapes
    with torch.inference_mode():
        found = network.taps((tensorflow1_bilinear(crops, 299) - 128) / 128)
    for tap in TAPS:
        agree(f"Inception output {tap}", found[tap].numpy(), outputs[tap].numpy(), "torch-fidelity")
        spread = float(outputs[tap].std())
        torch.testing.assert_close(found[tap], outputs[tap], rtol=1e-5, atol=1e-5 * spread)


def test_features_logits_and_scores_of_pictures_are_torch_fidelity_s(
    state, crops, of_torch_fidelity, agree, reference_module
):
    theirs = of_torch_fidelity[0]
    extracted = Inception(LoadedWeights(state, "tensors:random")).extract(crops)
    features, logits = extracted.features.numpy(), extracted.logits.numpy()
    agree("Inception extractor, features", features, theirs["2048"].numpy(), "torch-fidelity", 1e-5, FOLDED)
    for biased, tap in ((False, "logits_unbiased"), (True, "logits")):
        found = logits + state["fc.bias"].numpy() if biased else logits
        agree(f"Inception extractor, {tap}", found, theirs[tap].numpy(), "torch-fidelity", 1e-5, FOLDED)
        score = reference_module("torch_fidelity.metric_isc").isc_features_to_metric(theirs[tap], 2)
        expected = score["inception_score_mean"]
        assert expected > 1.5, "a score of 1 would agree with anything"
        ours = inception_score(found, 2).mean
        agree(f"Inception Score of 12 pictures, {tap}", ours, expected, "torch-fidelity", 1e-5, FOLDED)
    by_torch_fidelity = reference_module("torch_fidelity.metric_kid").kid_features_to_metric(
        theirs["2048"][:6].double(),
        theirs["2048"][6:].double(),
        kid_subsets=5,
        kid_subset_size=4,
        verbose=False,
    )
    agree(
        "KID of 6 and 6 pictures",
        kid(features[:6], features[6:], subsets=5, subset_size=4).mean,
        by_torch_fidelity["kernel_inception_distance_mean"],
        "torch-fidelity",
        1e-5,
        FOLDED,
    )


def test_torchmetrics_resizes_with_antialias_unless_told_otherwise(
    state, weights_file, photos, agree, differ, reference_module
):
    module = reference_module("torchmetrics.image.fid")
    large = torch.from_numpy(np.stack([photo[:400, 100:500] for photo in photos])).permute(0, 3, 1, 2)
    network = module.NoTrainInceptionV3("reference", ["2048"], weights_file)
    pictures = []
    network.Conv2d_1a_3x3.register_forward_pre_hook(lambda _, inputs: pictures.append(inputs[0]))
    with torch.inference_mode():
        by_default = network(large)
        network.use_antialias = False
        as_the_graph = network(large)
    extractor = Inception(LoadedWeights(state, "tensors:random"))
    ours = extractor.extract(large).features.numpy()
    antialiased = torch.nn.functional.interpolate(
        large.float(), (299, 299), mode="bilinear", align_corners=False, antialias=True
    )
    torch.testing.assert_close(pictures[0], (antialiased - 128) / 128)
    torch.testing.assert_close(pictures[1], extractor.scaled(large))
    agree(
        "Inception features, torchmetrics with antialias=False",
        ours,
        as_the_graph.numpy(),
        "torchmetrics",
        1e-5,
        FOLDED,
    )
    differ(
        "Inception features of 400x400, antialiased by torchmetrics",
        ours,
        by_default.numpy(),
        "torchmetrics",
        "its default since 1.8.0 is half-pixel bilinear with antialias",
        least=1e-3,
    )
