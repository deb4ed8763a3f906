"""Networks: FiLM-UNet and the plain UNet, and the authors' weights."""

from conemos_bundle.networks.film_unet import FiLMUNet
from conemos_bundle.networks.parameter_groups import parameter_groups
from conemos_bundle.networks.reference_weights import load_reference_weights
from conemos_bundle.networks.unet import UNet

NETWORKS = {"FiLMUNet": FiLMUNet, "UNet": UNet}

__all__ = ["NETWORKS", "FiLMUNet", "UNet", "load_reference_weights", "parameter_groups"]
