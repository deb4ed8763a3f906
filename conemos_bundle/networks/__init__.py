"""Networks: CoNeMOS's FiLM-UNet, those of the methods it is compared with, and the authors' weights."""

from conemos_bundle.networks.added_region import AddedRegion
from conemos_bundle.networks.dodnet import DoDNet
from conemos_bundle.networks.film_unet import FiLMUNet
from conemos_bundle.networks.grown_unet import GrownUNet
from conemos_bundle.networks.individual import IndividualNetworks
from conemos_bundle.networks.multi_decoder import MultiDecoder
from conemos_bundle.networks.multi_layer import MultiLayer
from conemos_bundle.networks.optimizer_groups import parameter_groups
from conemos_bundle.networks.placing import on_device
from conemos_bundle.networks.reference_weights import load_reference_weights
from conemos_bundle.networks.unet import UNet

NETWORKS = {
    network.__name__: network for network in (FiLMUNet, UNet, IndividualNetworks, MultiLayer, MultiDecoder, DoDNet)
}
OF_GROWING = {network.__name__: network for network in (AddedRegion, GrownUNet)}

__all__ = [
    "NETWORKS",
    "OF_GROWING",
    "AddedRegion",
    "DoDNet",
    "FiLMUNet",
    "GrownUNet",
    "IndividualNetworks",
    "MultiDecoder",
    "MultiLayer",
    "UNet",
    "load_reference_weights",
    "on_device",
    "parameter_groups",
]
