"""Where the bundle is used: the Model Zoo, MONAI Label, MONAI Deploy."""
