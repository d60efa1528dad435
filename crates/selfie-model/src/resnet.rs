//! ResNet-50, v2 or v1.5, of any width and depths: the patch network (three stages) and the whole network (four).

use crate::config::{Architecture, SelfieConfig, Stem};
use crate::mode::Mode;
use crate::unit::{Build, ParameterUnit};
use candle_core::{Result, Tensor};
use selfie_ops::{
    BlockForm, ConvSpec, ParameterKind, Precision, StageMap, StageSpec, UnitLayout, batch_norm, conv2d, max_pool, stage,
};

/// What each part of the network wrote.
///
/// # Shapes
///
/// For a 3×3 stem; a 7×7 stem divides every side by four first.
///
/// - `stages[i]`: `[B, H/2^i, W/2^i, 4 · width · 2^i]`, unnormalised in v2
/// - `last`: the same of the last stage, normalised and rectified: what is pooled
#[derive(Clone, Debug)]
pub struct StageMaps {
    /// After each stage but the last.
    pub stages: Vec<StageMap>,
    /// After the norm and ReLU that end the network; in v1.5 the last stage itself.
    pub last: Tensor,
}

/// The convolutional network, up to pooling.
#[derive(Debug)]
pub(crate) struct ResNet {
    stem: Stem,
    stem_conv: (ConvSpec, ParameterUnit),
    /// v1.5 only: v2 normalises inside its blocks.
    stem_norm: Option<ParameterUnit>,
    stages: Vec<(StageSpec, ParameterUnit)>,
    /// v2 only: v1.5 ends rectified.
    norm: Option<ParameterUnit>,
    /// Of the stages and the maps between them.
    precision: Precision,
}

/// What a norm of its own has: gain, bias, statistics.
fn norm_unit(prefix: &str, channels: usize, build: Build<'_>) -> Result<ParameterUnit> {
    let mut layout = UnitLayout::default();
    layout.push_norm("", channels);
    ParameterUnit::new(prefix, layout, build)
}

impl ResNet {
    /// `n_stages` is 3 for the patch network, 4 for the whole one; names begin with `prefix`.
    pub(crate) fn new(config: &SelfieConfig, n_stages: usize, prefix: &str, build: Build<'_>) -> Result<Self> {
        let v2 = config.architecture == Architecture::Resnet50V2;
        let width = config.width;
        let (kernel, stride, padding) = match config.stem {
            Stem::ThreeByThree => (3, 1, 1),
            Stem::SevenBySeven => (7, 2, 3),
        };
        let spec = ConvSpec { kernel, stride, padding, in_channels: 3, out_channels: width };
        let mut layout = UnitLayout::default();
        let name = if v2 { "conv.weight" } else { "weight" };
        layout.push(name, ParameterKind::Convolution, &[kernel, kernel, 3, width]);
        let stem = if v2 { "stem" } else { "conv1" };
        let stem_conv = (spec, ParameterUnit::new(format!("{prefix}{stem}."), layout, build)?);
        let stem_norm = if v2 { None } else { Some(norm_unit(&format!("{prefix}bn1"), width, build)?) };

        let form = if v2 { BlockForm::PreActivation } else { BlockForm::PostActivation };
        let mut stages = Vec::with_capacity(n_stages);
        let mut in_channels = width;
        for (i, &depth) in config.depths.iter().take(n_stages).enumerate() {
            let (mid_channels, stride) = (width << i, if i == 0 { 1 } else { 2 });
            let spec = StageSpec { form, in_channels, mid_channels, depth, stride, precision: build.precision };
            in_channels = spec.out_channels();
            let name = if v2 { format!("{prefix}stages.{i}.") } else { format!("{prefix}layer{}.", i + 1) };
            stages.push((spec, ParameterUnit::new(name, spec.layout(), build)?));
        }
        let norm = if v2 { Some(norm_unit(&format!("{prefix}norm"), in_channels, build)?) } else { None };
        Ok(Self { stem: config.stem, stem_conv, stem_norm, stages, norm, precision: build.precision })
    }

    /// `x` is `[B, H, W, 3]`, normalised.
    pub(crate) fn forward(&self, x: &Tensor, mode: Mode<'_>) -> Result<StageMaps> {
        let (spec, unit) = &self.stem_conv;
        let mut x = conv2d(x, &unit.tensor(mode), *spec)?;
        if let Some(unit) = &self.stem_norm {
            x = unit.normalised(mode, |parameters, norm| batch_norm(&x, parameters, norm, true))?;
        }
        if self.stem == Stem::SevenBySeven {
            x = max_pool(&x)?;
        }
        let mut map = StageMap::new(&x, self.precision)?;
        drop(x);
        let mut stages = Vec::with_capacity(self.stages.len());
        for (i, (spec, unit)) in self.stages.iter().enumerate() {
            if i > 0 {
                stages.push(map.clone());
            }
            map = unit.normalised(mode, |parameters, norm| stage(&map, parameters, *spec, norm))?;
        }
        let mut last = map.tensor()?;
        if let Some(unit) = &self.norm {
            last = unit.normalised(mode, |parameters, norm| batch_norm(&last, parameters, norm, true))?;
        }
        Ok(StageMaps { stages, last })
    }

    pub(crate) fn units(&self) -> impl Iterator<Item = &ParameterUnit> {
        let stages = self.stages.iter().map(|(_, unit)| unit);
        [&self.stem_conv.1].into_iter().chain(&self.stem_norm).chain(stages).chain(&self.norm)
    }
}
