//! The flat parameter tensor of a unit: which named parameter lies where.

use std::ops::Range;

/// What a parameter is: decides its initial value, its weight decay and its layout in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParameterKind {
    /// A convolution's weight, `[kernel, kernel, in, out]` in memory, `[out, in, kernel, kernel]` in a file.
    Convolution,
    /// A linear layer's weight, `[out, in]`.
    Linear,
    /// A normalisation's gain.
    Gain,
    /// A bias, of a normalisation or of a linear layer.
    Bias,
    /// A learned vector or table: the pool token, position embeddings.
    Embedding,
}

/// One named parameter of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParameterSpec {
    /// Name within the unit, as timm, torchvision or PyTorch has it.
    pub name: String,
    /// What it is.
    pub kind: ParameterKind,
    /// Its shape in memory.
    pub shape: Vec<usize>,
    /// Where it lies in the flat tensor.
    pub range: Range<usize>,
}

/// Running statistics of one batch normalisation of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormSpec {
    /// Name of the norm within the unit, e.g. `blocks.0.norm1`.
    pub name: String,
    /// Its channels; `[mean…, variance…]` lie in `range` of the unit's statistics.
    pub range: Range<usize>,
}

impl NormSpec {
    /// Channels of the norm.
    #[must_use]
    pub fn channels(&self) -> usize {
        self.range.len() / 2
    }
}

/// The parameters and norms of a unit, in the order in which they lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnitLayout {
    parameters: Vec<ParameterSpec>,
    norms: Vec<NormSpec>,
}

impl UnitLayout {
    /// The named parameters, end to end.
    #[must_use]
    pub fn parameters(&self) -> &[ParameterSpec] {
        &self.parameters
    }

    /// The batch normalisations, end to end.
    #[must_use]
    pub fn norms(&self) -> &[NormSpec] {
        &self.norms
    }

    /// Elements of the flat parameter tensor.
    #[must_use]
    pub fn n_parameters(&self) -> usize {
        self.parameters.last().map_or(0, |p| p.range.end)
    }

    /// Elements of the flat statistics tensor.
    #[must_use]
    pub fn n_statistics(&self) -> usize {
        self.norms.last().map_or(0, |n| n.range.end)
    }

    /// Appends a parameter and returns where it lies.
    pub fn push(&mut self, name: impl Into<String>, kind: ParameterKind, shape: &[usize]) -> Range<usize> {
        let start = self.n_parameters();
        let range = start..start + shape.iter().product::<usize>();
        self.parameters.push(ParameterSpec { name: name.into(), kind, shape: shape.to_vec(), range: range.clone() });
        range
    }

    /// Appends a batch normalisation: gain, bias and running statistics; returns where they lie.
    pub fn push_norm(&mut self, name: &str, channels: usize) -> NormAt {
        let gain = self.push(format!("{name}.weight"), ParameterKind::Gain, &[channels]);
        let bias = self.push(format!("{name}.bias"), ParameterKind::Bias, &[channels]);
        let start = self.n_statistics();
        let statistics = start..start + 2 * channels;
        self.norms.push(NormSpec { name: name.to_owned(), range: statistics.clone() });
        NormAt { gain, bias, statistics }
    }

    /// Appends a convolution's weight.
    pub(crate) fn push_conv(&mut self, name: &str, spec: crate::ConvSpec) -> Range<usize> {
        let shape = [spec.kernel, spec.kernel, spec.in_channels, spec.out_channels];
        self.push(format!("{name}.weight"), ParameterKind::Convolution, &shape)
    }
}

/// Where a batch normalisation lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormAt {
    /// The gain, in the parameters.
    pub gain: Range<usize>,
    /// The bias, in the parameters.
    pub bias: Range<usize>,
    /// `[mean…, variance…]`, in the statistics.
    pub statistics: Range<usize>,
}
