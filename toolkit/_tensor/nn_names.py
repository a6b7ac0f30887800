"""Names of the package's top level that `toolkit.nn.functional.toplevel` holds."""

SAME = [
    "adaptive_avg_pool1d", "avg_pool1d", "bilinear", "celu", "celu_", "channel_shuffle", "conv1d",
    "conv2d", "conv3d", "conv_tbc", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d",
    "group_norm", "hardshrink", "max_pool1d", "max_pool2d", "max_pool3d", "native_channel_shuffle",
    "pixel_shuffle", "pixel_unshuffle", "prelu", "rms_norm", "rrelu", "rrelu_", "selu", "selu_",
    "threshold", "threshold_", "max_pool1d_with_indices",
]  # fmt: skip
OWN = [
    "adaptive_max_pool1d", "affine_grid_generator", "alpha_dropout", "alpha_dropout_", "batch_norm",
    "constant_pad_nd", "convolution", "dropout", "dropout_", "embedding", "embedding_bag",
    "embedding_renorm_", "feature_alpha_dropout", "feature_alpha_dropout_", "feature_dropout",
    "feature_dropout_", "grid_sampler", "grid_sampler_2d", "grid_sampler_3d", "gru_cell",
    "instance_norm", "layer_norm", "lstm_cell", "native_dropout", "norm_except_dim",
    "rnn_relu_cell", "rnn_tanh_cell",
]  # fmt: skip
NAMES = [*SAME, *OWN]
