//! The parameters and running statistics of one fused operation, and their names.

use crate::initialize::initial_values;
use crate::mode::{Mode, Training, is_finite};
use candle_core::{DType, Device, Result, Tensor, Var, bail};
use selfie_ops::{NormMode, Normalised, ParameterKind, ParameterSpec, Precision, UnitLayout};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{PoisonError, RwLock};

/// PyTorch's momentum of running statistics: the share of the new batch.
const STATISTICS_MOMENTUM: f64 = 0.1;

/// The parameters of one fused operation: one flat tensor, whose parts have names.
#[derive(Debug)]
pub struct ParameterUnit {
    prefix: String,
    layout: UnitLayout,
    parameters: Var,
    statistics: RwLock<Tensor>,
}

/// Where and how new units are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Build<'a> {
    /// Of the parameters and of the tensors between operations.
    pub(crate) dtype: DType,
    /// Of the products and maps inside of operations.
    pub(crate) precision: Precision,
    pub(crate) device: &'a Device,
    pub(crate) seed: u64,
    budget: Option<&'a Budget>,
}

impl<'a> Build<'a> {
    /// With bf16 the parameters stay f32; the operations round what they multiply and keep.
    pub(crate) fn new(dtype: DType, device: &'a Device, seed: u64) -> Self {
        let budget = None;
        match dtype {
            DType::BF16 => Self { dtype: DType::F32, precision: Precision::Bf16, device, seed, budget },
            dtype => Self { dtype, precision: Precision::Full, device, seed, budget },
        }
    }

    /// The same, of no more numbers than `budget` has.
    pub(crate) fn within(self, budget: &'a Budget) -> Self {
        Self { budget: Some(budget), ..self }
    }
}

/// How many numbers a network may have: those of the file that says what network it is of. A small file could otherwise
/// ask for any amount of memory.
#[derive(Debug)]
pub(crate) struct Budget {
    left: Cell<usize>,
    is_exceeded: Cell<bool>,
}

impl Budget {
    pub(crate) fn new(n_numbers: usize) -> Self {
        Self { left: Cell::new(n_numbers), is_exceeded: Cell::new(false) }
    }

    pub(crate) fn is_exceeded(&self) -> bool {
        self.is_exceeded.get()
    }

    fn take(&self, n: usize) -> Result<()> {
        match self.left.get().checked_sub(n) {
            Some(left) => {
                self.left.set(left);
                Ok(())
            }
            None => {
                self.is_exceeded.set(true);
                bail!("the file holds fewer numbers than its network")
            }
        }
    }
}

impl ParameterUnit {
    pub(crate) fn new(prefix: impl Into<String>, layout: UnitLayout, build: Build<'_>) -> Result<Self> {
        let prefix = prefix.into();
        build.budget.map_or(Ok(()), |budget| budget.take(layout.n_parameters() + layout.n_statistics()))?;
        let parameters = initial_values(&prefix, &layout, build.seed);
        let mut statistics = vec![0f32; layout.n_statistics()];
        for norm in layout.norms() {
            statistics[norm.range.start + norm.channels()..norm.range.end].fill(1.0);
        }
        let tensor = |values: Vec<f32>| {
            Tensor::from_vec(values, ((),), &Device::Cpu)?.to_dtype(build.dtype)?.to_device(build.device)
        };
        Ok(Self {
            prefix,
            layout,
            parameters: Var::from_tensor(&tensor(parameters)?)?,
            statistics: RwLock::new(tensor(statistics)?),
        })
    }

    /// What its parameters' names begin with; unique in a network.
    #[must_use]
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The flat parameter tensor.
    #[must_use]
    pub fn parameters(&self) -> &Var {
        &self.parameters
    }

    /// The ranges of the flat tensor that weight decay applies to: weights, not norms, biases or embeddings.
    #[must_use]
    pub fn decayed(&self) -> Vec<Range<usize>> {
        let weights = |kind| matches!(kind, ParameterKind::Convolution | ParameterKind::Linear);
        self.layout.parameters().iter().filter(|p| weights(p.kind)).map(|p| p.range.clone()).collect()
    }

    /// The named parts of `flat`, a tensor laid out as the parameters (a gradient or a momentum, say), in the shapes of a file.
    ///
    /// # Errors
    ///
    /// If `flat` has another length.
    pub fn named(&self, flat: &Tensor) -> Result<Vec<(String, Tensor)>> {
        let part = |p: &ParameterSpec| Ok((format!("{}{}", self.prefix, p.name), to_file(p, flat)?));
        self.layout.parameters().iter().map(part).collect()
    }

    /// The running means and variances of its norms by name, each `[C]`; none for a unit without batch norm.
    ///
    /// # Errors
    ///
    /// If the device is out of memory.
    pub fn named_statistics(&self) -> Result<Vec<(String, Tensor)>> {
        let statistics = self.statistics();
        let mut named = Vec::new();
        for (name, range) in self.statistics_names() {
            named.push((name, statistics.narrow(0, range.start, range.len())?.contiguous()?));
        }
        Ok(named)
    }

    /// The first of its norms, by its full name, of which `training` took statistics that are not finite.
    ///
    /// # Errors
    ///
    /// If a tensor cannot be read.
    pub fn non_finite_norm(&self, training: &Training) -> Result<Option<String>> {
        let Some(statistics) = training.statistics_of(&self.prefix) else { return Ok(None) };
        for norm in self.layout.norms() {
            if !is_finite(&statistics.narrow(0, norm.range.start, norm.range.len())?)? {
                return Ok(Some(format!("{}{}", self.prefix, norm.name)));
            }
        }
        Ok(None)
    }

    fn statistics_names(&self) -> impl Iterator<Item = (String, Range<usize>)> + '_ {
        self.layout.norms().iter().flat_map(|norm| {
            let middle = norm.range.start + norm.channels();
            [("running_mean", norm.range.start..middle), ("running_var", middle..norm.range.end)]
                .map(|(what, range)| (format!("{}{}.{what}", self.prefix, norm.name), range))
        })
    }

    /// Every name of this unit with its shape in a file.
    pub(crate) fn expected(&self) -> Vec<(String, Vec<usize>)> {
        let parameters = self.layout.parameters().iter().map(|p| (format!("{}{}", self.prefix, p.name), file_shape(p)));
        let statistics = self.statistics_names().map(|(name, range)| (name, vec![range.len()]));
        parameters.chain(statistics).collect()
    }

    /// Assembles a flat tensor from named parts in the shapes of a file; the reverse of [`Self::named`].
    ///
    /// # Errors
    ///
    /// If a part is missing or misshapen.
    pub fn assemble(&self, parts: &BTreeMap<String, Tensor>) -> Result<Tensor> {
        let mut flat = Vec::new();
        for p in self.layout.parameters() {
            let name = format!("{}{}", self.prefix, p.name);
            let Some(part) = parts.get(&name) else { bail!("tensor `{name}` is missing") };
            if part.dims() != file_shape(p) {
                bail!("tensor `{name}`: expected shape {:?}, got {:?}", file_shape(p), part.dims())
            }
            flat.push(to_memory(p, part)?.flatten_all()?);
        }
        let like = self.parameters.as_tensor();
        Tensor::cat(&flat, 0)?.to_dtype(like.dtype())?.to_device(like.device())
    }

    /// Takes over the parameters and statistics that `parts` names; the rest stay. Shapes are checked by the caller.
    pub(crate) fn load(&self, parts: &BTreeMap<String, Tensor>) -> Result<()> {
        let mut all: BTreeMap<String, Tensor> =
            self.named(&self.parameters.as_detached_tensor())?.into_iter().collect();
        for (name, tensor) in &mut all {
            if let Some(part) = parts.get(name) {
                *tensor = part.to_dtype(tensor.dtype())?.to_device(tensor.device())?;
            }
        }
        // A copy: parts of a tensor may share its memory, and a variable cannot be set from itself.
        self.parameters.set(&self.assemble(&all)?.copy()?)?;
        let current = self.statistics();
        let mut pieces = Vec::new();
        for (name, range) in self.statistics_names() {
            pieces.push(match parts.get(&name) {
                Some(part) => part.to_dtype(current.dtype())?.to_device(current.device())?,
                None => current.narrow(0, range.start, range.len())?,
            });
        }
        if !pieces.is_empty() {
            self.set_statistics(Tensor::cat(&pieces, 0)?);
        }
        Ok(())
    }

    pub(crate) fn statistics(&self) -> Tensor {
        self.statistics.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_statistics(&self, statistics: Tensor) {
        *self.statistics.write().unwrap_or_else(PoisonError::into_inner) = statistics;
    }

    /// Moves the running statistics towards those `training` took.
    pub(crate) fn follow(&self, training: &Training) -> Result<()> {
        let Some(taken) = training.statistics_of(&self.prefix) else { return Ok(()) };
        let kept = (self.statistics() * (1.0 - STATISTICS_MOMENTUM))?;
        self.set_statistics((kept + (taken * STATISTICS_MOMENTUM)?)?);
        Ok(())
    }

    /// The parameters as an operation takes them: tracked in training, not in inference.
    pub(crate) fn tensor(&self, mode: Mode<'_>) -> Tensor {
        match mode {
            Mode::Inference => self.parameters.as_detached_tensor(),
            Mode::Training(_) => self.parameters.as_tensor().clone(),
        }
    }

    /// Applies a normalising operation in `mode` and records the batch statistics it took.
    pub(crate) fn normalised<Y>(
        &self,
        mode: Mode<'_>,
        operation: impl FnOnce(&Tensor, NormMode<'_>) -> Result<Normalised<Y>>,
    ) -> Result<Y> {
        let parameters = self.tensor(mode);
        match mode {
            Mode::Inference => Ok(operation(&parameters, NormMode::Running(&self.statistics()))?.y),
            Mode::Training(training) => {
                let out = operation(&parameters, NormMode::Batch)?;
                training.record(&self.prefix, out.statistics);
                Ok(out.y)
            }
        }
    }
}

fn file_shape(p: &ParameterSpec) -> Vec<usize> {
    match (p.kind, &p.shape[..]) {
        (ParameterKind::Convolution, &[height, width, input, output]) => vec![output, input, height, width],
        _ => p.shape.clone(),
    }
}

/// The one place where a convolution's weight turns from `[k, k, in, out]` to a file's `[out, in, k, k]`.
fn to_file(p: &ParameterSpec, flat: &Tensor) -> Result<Tensor> {
    let part = flat.narrow(0, p.range.start, p.range.len())?.reshape(p.shape.as_slice())?;
    match p.kind {
        ParameterKind::Convolution => part.permute((3, 2, 0, 1))?.contiguous(),
        _ => part.contiguous(),
    }
}

/// The reverse of [`to_file`].
fn to_memory(p: &ParameterSpec, part: &Tensor) -> Result<Tensor> {
    match p.kind {
        ParameterKind::Convolution => part.permute((2, 3, 1, 0))?.contiguous(),
        _ => part.contiguous(),
    }
}
