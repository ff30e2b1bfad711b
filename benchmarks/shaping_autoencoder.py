"""Auto-encoders of scikit-learn's digits whose latents are shaped to N(0, 1).

Three auto-encoders of the same layers: plain, with each latent shaped to N(0, 1) over the batch,
and variational (VAE). Each is judged by its reconstruction of test images, and by samples that its
decoder makes of latents drawn from N(0, 1), or from the normal distribution fitted to the training
images' latents. A classifier of real digits judges the samples: how sure it is, how evenly the ten
classes appear, and the Frechet distance of its features to those of test images.

Examples:
    python benchmarks/shaping_autoencoder.py --out-json results/shaping-autoencoder/digits.json \
        --picture results/shaping-autoencoder/samples.png
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from scipy.linalg import sqrtm
from torch import Tensor, nn
from torch.nn import functional as F

from mmbas.analysis.image_grid import draw_image_grid
from mmbas.cli.command_line import format_table, run_tool, set_threads, with_origin, write_json
from mmbas.datasets.digits import MAX_VALUE, load_digit_arrays, split_indices
from mmbas.losses import NormalPrior, ShapingLoss

METHODS = ("plain", "shaped", "vae")
NUM_PIXELS, NUM_FEATURES = 64, 32
NUM_SAMPLES = 2000
COLUMNS = {
    "error": "mean squared error",
    "sure": "sureness",
    "classes": "even classes",
    "frechet": "Frechet",
    "fitted_sure": "fitted: sureness",
    "fitted_frechet": "fitted: Frechet",
    "correlation": "latent correlation",
}


class AutoEncoder(nn.Module):
    """Two layers down to the latents and two up again; a VAE's encoder also tells variances."""

    def __init__(self, num_latents: int, *, variational: bool) -> None:
        super().__init__()
        outputs = 2 * num_latents if variational else num_latents
        self.variational = variational
        self.encoder = nn.Sequential(
            nn.Linear(NUM_PIXELS, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(),
            nn.Linear(128, outputs),
        )  # fmt: skip
        self.decoder = nn.Sequential(
            nn.Linear(num_latents, 128), nn.ReLU(), nn.Linear(128, 256), nn.ReLU(),
            nn.Linear(256, NUM_PIXELS), nn.Sigmoid(),
        )  # fmt: skip

    def latents(self, images: Tensor) -> Tensor:
        """Mean latents of images (N, 64), shape (N, latents)."""
        code = self.encoder(images)
        return code.chunk(2, dim=1)[0] if self.variational else code

    def loss(self, images: Tensor) -> Tensor:
        """Squared error summed over pixels, half of it per unit of noise variance, and the KL."""
        code = self.encoder(images)
        if not self.variational:
            return F.mse_loss(self.decoder(code), images, reduction="sum") / len(images)
        mean, log_variance = code.chunk(2, dim=1)
        drawn = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        error = F.mse_loss(self.decoder(drawn), images, reduction="sum") / len(images)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1).mean()
        return error + 2 * PIXEL_VARIANCE * divergence


PIXEL_VARIANCE = 0.02  # noise of a pixel in the VAE's likelihood; values of pixels are 0 to 1


class Judge(nn.Module):
    """A classifier of real digits with a layer of features before its last."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Linear(NUM_PIXELS, 128), nn.ReLU(), nn.Linear(128, NUM_FEATURES), nn.ReLU()
        )
        self.classifier = nn.Linear(NUM_FEATURES, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Class scores of images (N, 64), shape (N, 10)."""
        return self.classifier(self.features(images))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--latents", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=150)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--loss-weight", type=float, default=10.0, help="of the shaping loss")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--picture", metavar="FILE", help="of samples of the first seed")
    parser.add_argument("--out-json", metavar="FILE")
    return parser.parse_args()


def fit(model: nn.Module, loss: Any, num_images: int, epochs: int) -> None:
    """Minimise ``loss(indices)`` of batches of 128 with Adam, its rate falling in a cosine."""
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    steps = epochs * (num_images // 128)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for _ in range(epochs):
        for chosen in torch.randperm(num_images).split(128):
            if len(chosen) == 128:
                optimizer.zero_grad()
                loss(chosen).backward()
                optimizer.step()
                scheduler.step()


def train(method: str, images: Tensor, args: argparse.Namespace) -> AutoEncoder:
    """One auto-encoder."""
    model = AutoEncoder(args.latents, variational=method == "vae")
    shaping = ShapingLoss(
        features=["encoder.4"],
        prior=NormalPrior(),
        loss_weight=args.loss_weight if method == "shaped" else 0.0,
        reduction="sum",
        min_density=0.01,
    ).bind(model)

    def loss(chosen: Tensor) -> Tensor:
        with shaping.recording(model) as features:
            total = model.loss(images[chosen])
        return total + shaping(features)

    fit(model, loss, len(images), args.epochs)
    return model.eval()


def judged(samples: Tensor, real: Tensor, judge: Judge) -> dict[str, float]:
    """Sureness, evenness of classes (entropy as a share of ln 10), and Frechet distance."""
    probs = judge(samples).softmax(dim=1)
    shares = probs.mean(dim=0)
    entropy = -(shares * shares.clamp(min=1e-9).log()).sum() / np.log(10)
    first, second = (judge.features(each).double().numpy() for each in (samples, real))
    root = sqrtm(np.cov(first.T) @ np.cov(second.T)).real
    gap = np.square(first.mean(0) - second.mean(0)).sum()
    distance = gap + np.trace(np.cov(first.T) + np.cov(second.T) - 2 * root)
    return {
        "sure": probs.amax(dim=1).mean().item(),
        "classes": entropy.item(),
        "frechet": float(distance),
    }


@torch.no_grad()
def assess(
    model: AutoEncoder, train_images: Tensor, test_images: Tensor, judge: Judge
) -> tuple[dict[str, float], Tensor]:
    """Judge one auto-encoder; returns the figures of the tables and a few samples."""
    drawn = torch.randn(NUM_SAMPLES, model.decoder[0].in_features)
    latents = model.latents(train_images)
    fitted = torch.distributions.MultivariateNormal(latents.mean(0), torch.cov(latents.t()))
    samples = model.decoder(drawn)
    error = F.mse_loss(model.decoder(model.latents(test_images)), test_images).item()
    correlations = torch.corrcoef(latents.t()).triu(diagonal=1).abs()
    num_pairs = latents.shape[1] * (latents.shape[1] - 1) / 2
    of_fitted = judged(model.decoder(fitted.sample((NUM_SAMPLES,))), test_images, judge)
    return {
        "error": error,
        **judged(samples, test_images, judge),
        **{f"fitted_{name}": value for name, value in of_fitted.items()},
        "correlation": correlations.sum().item() / num_pairs,
        "latent_mean": latents.mean(0).abs().mean().item(),
        "latent_std": latents.std(0).mean().item(),
    }, samples[:10]


def main() -> None:
    args = parse_args()
    set_threads(args.threads)
    arrays, labels = load_digit_arrays()
    images = torch.from_numpy(arrays).float().flatten(1) / MAX_VALUE
    kept, tested = (split_indices(labels, split) for split in ("train", "test"))
    classes = torch.from_numpy(labels).long()

    runs, pictures = [], {"real": images[tested][:10]}
    for seed in args.seeds:
        torch.manual_seed(seed)
        judge = Judge()
        inputs, targets = images[kept], classes[kept]
        fit(judge, lambda i: F.cross_entropy(judge(inputs[i]), targets[i]), len(inputs), 60)  # noqa: B023
        judge.eval()
        right = (judge(images[tested]).argmax(1) == classes[tested]).double().mean().item()
        for method in METHODS:
            torch.manual_seed(seed)
            found, samples = assess(train(method, inputs, args), inputs, images[tested], judge)
            runs.append({"method": method, "seed": seed, "judge_accuracy": right, **found})
            pictures.setdefault(method, samples)
            print(" ".join(f"{k}={v}" for k, v in runs[-1].items()), flush=True)

    means = {
        method: {c: float(np.mean([r[c] for r in runs if r["method"] == method])) for c in COLUMNS}
        for method in METHODS
    }
    rows = [
        [name, *(f"{value:.3g}" for value in values.values())] for name, values in means.items()
    ]
    print(format_table(["auto-encoder", *COLUMNS.values()], rows))
    if args.picture:
        draw_image_grid(
            {name: rows.reshape(-1, 8, 8).numpy() for name, rows in pictures.items()}, args.picture
        )
    settings = {name: getattr(args, name) for name in ("latents", "epochs", "loss_weight")}
    result = {"data": "digits", "images": [len(kept), len(tested)], "seed": args.seeds, **settings}
    write_json(args.out_json, with_origin({**result, "means": means, "runs": runs}, "none"))


if __name__ == "__main__":
    run_tool(main)
