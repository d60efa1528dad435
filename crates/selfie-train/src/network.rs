//! From a plan to the configuration of a network.

use selfie_data::{Images, MaskSampler, PatchGrid};
use selfie_model::{LogitScale, Normalization, SelfieConfig};

use crate::TrainError;
use crate::config::Resolved;
use crate::plan::{DataPlan, LogitScalePlan, ModelPlan};

/// Refuses images of another size than the configuration's.
pub(crate) fn require_side(resolved: &Resolved, images: &Images) -> Result<(), TrainError> {
    let configured = resolved.config.data.image_size;
    if configured == images.side() {
        return Ok(());
    }
    let key = "data.image_size".to_owned();
    let origin = resolved.source(&key);
    let side = images.side();
    let expected = format!(
        "{side}, the side of the data set's images (--set {key}={side}, with a data.patch_size that divides it)"
    );
    Err(TrainError::BadValue { key, origin, expected, got: configured.to_string() })
}

/// How images ask to be normalised.
pub(crate) fn normalization(images: &Images) -> Normalization {
    let (mean, std) = images.mean_std();
    // A channel that never varies would otherwise be divided by zero.
    Normalization { mean, std: std.map(|std| std.max(1.0 / 255.0)) }
}

/// The network that a plan describes.
pub(crate) fn network_config(model: &ModelPlan, data: &DataPlan, normalization: Normalization) -> SelfieConfig {
    let (logit_scale, temperature) = match model.logit_scale {
        LogitScalePlan::Raw => (LogitScale::Raw, 1.0),
        LogitScalePlan::InverseSqrt => (LogitScale::InverseSqrt, 1.0),
        LogitScalePlan::Cosine { temperature } => (LogitScale::Cosine, temperature),
    };
    SelfieConfig {
        architecture: model.architecture,
        width: model.width,
        depths: model.depths,
        stem: model.stem,
        image_size: data.image_size,
        patch_size: data.patch_size,
        n_targets: data.n_targets,
        heads: model.heads,
        ffn: model.ffn,
        layers: model.layers,
        dropout: model.dropout,
        norm_first: model.norm_first,
        positions: model.positions,
        context_positions: model.context_positions,
        logit_scale,
        temperature,
        normalization,
    }
}

/// The patch grid and the mask sampler of a plan.
pub(crate) fn grid_and_masks(data: &DataPlan) -> Result<(PatchGrid, MaskSampler), TrainError> {
    let grid = PatchGrid::new(data.image_size, data.patch_size)?;
    Ok((grid, MaskSampler::new(grid.n_patches(), data.n_targets)?))
}
