"""DINOv2's own code, as far as loading its backbone imports it, file by file: it is run, so every byte is pinned here.

Left out is what only its text models import, when they are asked for (``dinov2/hub/text``): that would need packages
that nothing else here needs. The files are fetched one at a time by commit, since GitHub does not promise equal bytes
for its archives. Since June 2025 the code attends through torch's own scaled_dot_product_attention.
"""

from __future__ import annotations

from meshdrop.models.contract.weights import WeightFile

COMMIT = "b8931f7bf91576930313be2c6d6af376033b35f0"
BASE_URL = f"https://raw.githubusercontent.com/facebookresearch/dinov2/{COMMIT}"
FILES = (
    WeightFile("LICENSE", 11_359, "600cc67cc4cb2f5ea317dcfc687ad1c74dc4bec8782bbe9db0afd83513b935b7"),
    WeightFile("dinov2/__init__.py", 218, "0d2b87b7e71c7f7279ccc4b4f8b541d26071425284a0ea01a5a435fac4511cfe"),
    WeightFile("dinov2/hub/__init__.py", 195, "2932e94a2d67be87b717c49468214c1127be7864aedf37f5891d26be7bc1437f"),
    WeightFile("dinov2/hub/backbones.py", 4_991, "11c3b7e3da2a843ba5953191e8fc2027b37490313dfb315c0d4ad1a0ea31d27d"),
    WeightFile("dinov2/hub/classifiers.py", 8_195, "e9a178f9f3be659e4b463885453d2d5f9af0c068ac71fb3890d24796e659fd4b"),
    WeightFile("dinov2/hub/depth/__init__.py", 287, "de8f3fbecabae6552ebb8f3d7dee27987b1dbc11e94143c95137c438e86a9123"),
    WeightFile(
        "dinov2/hub/depth/decode_heads.py", 29_268, "04eb9639a4441409b80651c3d019a6e850c32b7e709236ceb6dbbaeb9fa17713"
    ),
    WeightFile(
        "dinov2/hub/depth/encoder_decoder.py",
        13_909,
        "1baf6f59269fb99faf274900f12910a22e038a3bb6d81c6fc712c0c482041a57",
    ),
    WeightFile("dinov2/hub/depth/ops.py", 1_229, "85d58e303eff9a0a306d97101c8b35c24196bfe55e8da019df1e4817411a4dc7"),
    WeightFile("dinov2/hub/depthers.py", 8_149, "55e47611dccc5d000574f9837accdb0babd02abe4eba998bd3bf01361143f0a6"),
    WeightFile("dinov2/hub/dinotxt.py", 2_808, "e64f63bd9c59555d8110054d9263fff4c6236fa929d51992a7eb483618eb3087"),
    WeightFile("dinov2/hub/utils.py", 1_260, "c0533919016531b320bf9aef7cd7001249bc8ef8957cdb29246c15b67d5abdf8"),
    WeightFile("dinov2/layers/__init__.py", 498, "1b55deed39d5ab0b589bef421bbfe06f24a10cd590a0f8403234c9ee4e34109d"),
    WeightFile("dinov2/layers/attention.py", 3_298, "79c7be7a452b3aad96698ec38d5d5150b9f4d8ac084fa93324510dc9f624775d"),
    WeightFile("dinov2/layers/block.py", 11_609, "60c0ac7dfa4474be313fabfa5a23d82faf6f0cecd4e720a88be35de9788cb636"),
    WeightFile("dinov2/layers/dino_head.py", 2_007, "9fdb1fa61c0609dc0876f711f9d0d828c33bf9fd972aab3d9c968d44e16b98d1"),
    WeightFile("dinov2/layers/drop_path.py", 1_157, "b9f8236e86054b9d9a71275efcad2a9ecaa1f86b529d4b8d6109ddb5e806f67a"),
    WeightFile(
        "dinov2/layers/layer_scale.py", 1_097, "dadd5aafe178f1bf72a205a02a6645c7e635cacbad585d4a7369c200c6e89135"
    ),
    WeightFile("dinov2/layers/mlp.py", 1_269, "255825c73b60a916dd00eb1e38aacbcdbf316e40d6a005efb46e245b7edb43aa"),
    WeightFile(
        "dinov2/layers/patch_embed.py", 2_829, "40da6add3d811198ea3e17cb99cdd4e5cda59e369efbbe3d18d89308618cf142"
    ),
    WeightFile(
        "dinov2/layers/swiglu_ffn.py", 3_200, "e46d2948fb97e497cf991ff82ce30cb59b59fdf2e12a19568417113716b4f119"
    ),
    WeightFile("dinov2/models/__init__.py", 1_486, "87b360c71997314f41be1c497cc42326fc32617d3a2840f2f19d3795ca8b85ee"),
    WeightFile(
        "dinov2/models/vision_transformer.py",
        14_842,
        "495c685c6da47452fd6b2ef0d2e04563e6cfc9a090ff5dec3c5b4386bb7cdf30",
    ),
    WeightFile("hubconf.py", 930, "e8926c8d01f93e27a6a687a39a1d78716690037fa79153c6483141526ef2a7c2"),
)
