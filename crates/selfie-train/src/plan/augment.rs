//! From the configuration to what is done to images, patches and batches.

use selfie_data::augment::N_BINS;
use selfie_data::{
    Augmentation, ColourDrop, ColourJitter, Crop, Mixing, PaddedCrop, PatchAugmentation, PatchJitter, RandAugment,
    ResizedCrop,
};

use super::check::Check;
use crate::TrainError;
use crate::config::{CropKind, Resolved};

/// Operations that no setting asks for are none, so that they cost no draw and no time.
pub(super) fn augmentation(resolved: &Resolved) -> Result<Option<Augmentation>, TrainError> {
    let check = |key| Check::new(resolved, key);
    let data = &resolved.config.data;
    check("data.pad").require(
        data.pad < data.image_size,
        format!("less than data.image_size = {}", data.image_size),
        data.pad,
    )?;
    check("data.crop_scale_min").require(
        data.crop_scale_min > 0.0 && data.crop_scale_min <= 1.0,
        "above 0 and at most 1",
        data.crop_scale_min,
    )?;
    let [brightness, contrast, saturation, hue] = data.colour_jitter;
    let factors = [brightness, contrast, saturation];
    check("data.colour_jitter").require(
        factors.iter().all(|spread| spread.is_finite() && *spread >= 0.0) && (0.0..=0.5).contains(&hue),
        "[brightness, contrast, saturation, hue]: finite numbers of at least 0, hue at most 0.5",
        format!("{:?}", data.colour_jitter),
    )?;
    check("data.grayscale").within(data.grayscale, 0.0..=1.0)?;
    check("data.randaugment_ops").within(data.randaugment_ops, 0..=16)?;
    check("data.randaugment_magnitude").within(data.randaugment_magnitude, 0..=N_BINS - 1)?;
    let crop = match data.crop {
        CropKind::Pad => Crop::Padded(PaddedCrop { pad: data.pad, padding: data.padding }),
        CropKind::Resized => Crop::Resized(ResizedCrop { min_scale: data.crop_scale_min }),
    };
    let rand_augment = RandAugment { n_operations: data.randaugment_ops, magnitude: data.randaugment_magnitude };
    let jitter = ColourJitter { brightness, contrast, saturation, hue };
    let augmentation = Augmentation {
        crop,
        flip: data.flip,
        rand_augment: (data.randaugment_ops > 0).then_some(rand_augment),
        colour_jitter: (jitter != ColourJitter::default()).then_some(jitter),
        grayscale: data.grayscale,
    };
    let moves_nothing = data.crop == CropKind::Pad && data.pad == 0;
    let changes_nothing = moves_nothing && augmentation == Augmentation { crop, ..Augmentation::NONE };
    Ok((!changes_nothing).then_some(augmentation))
}

pub(super) fn patch_augmentation(resolved: &Resolved) -> Result<PatchAugmentation, TrainError> {
    let data = &resolved.config.data;
    Check::new(resolved, "data.patch_colour_drop").within(data.patch_colour_drop, 0.0..=1.0)?;
    Check::new(resolved, "data.patch_jitter").require(
        data.patch_jitter == 0 || 2 * data.patch_jitter < data.patch_size,
        format!("less than half of data.patch_size = {}", data.patch_size),
        data.patch_jitter,
    )?;
    let jitter = PatchJitter { most: data.patch_jitter, fill: data.patch_jitter_fill };
    let colour_drop = ColourDrop { share: data.patch_colour_drop, dropped: data.patch_colour_fill };
    Ok(PatchAugmentation {
        jitter: (data.patch_jitter > 0).then_some(jitter),
        colour_drop: (data.patch_colour_drop > 0.0).then_some(colour_drop),
    })
}

pub(super) fn mixing(resolved: &Resolved) -> Result<Mixing, TrainError> {
    let finetune = &resolved.config.finetune;
    Check::new(resolved, "finetune.mixup").not_negative(finetune.mixup)?;
    Check::new(resolved, "finetune.cutmix").not_negative(finetune.cutmix)?;
    Ok(Mixing { mixup: finetune.mixup, cutmix: finetune.cutmix })
}
