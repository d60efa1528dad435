//! A ResNet stage on a device: the same blocks as on the CPU, from other kernels.
//!
//! What it keeps for backward is what each convolution read and wrote; columns of 3×3 convolutions are made again.

mod post;
mod pre;

use super::conv::Conv;
use super::norm::{GainAndBias, Moments, Norm, NormGradients, Through};
use super::numbers::Held;
use super::unit::not_here;
use super::{Array, Cuda, CudaNumbers, View};
use crate::kernels::numbers::Numbers;
use crate::layout::NormAt;
use crate::map::{Beside, Gradient, Inner, token_on};
use crate::stage::{BlockAt, ConvAt, Stage};
use crate::unit::{Normalised, parameter_gradient};
use crate::{BlockForm, StageMap};
use candle_core::cuda_backend::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, WithDType, bail};
use std::sync::{Mutex, PoisonError};

/// A map of a block: the stage's input, or an array of the stage's own.
type Map<'a, M> = View<'a, <M as Numbers>::Stored>;
type Owned<M> = Array<<M as Numbers>::Stored>;
type Sums<M> = Array<<M as Numbers>::Sum>;

/// What a block keeps.
struct Saved<M: CudaNumbers> {
    /// Its input, where that is its own: of every block but the first, whose input is the stage's.
    x: Option<Owned<M>>,
    /// What its convolutions wrote, unnormalised, as far as a norm reads it.
    raw: Vec<Owned<M>>,
    /// The norms of the block, that of the shortcut last.
    norms: Vec<Norm<M::Sum>>,
    /// What its 1×1 convolutions read, where it is no map above.
    active: Vec<Owned<M>>,
}

/// What a block or a convolution reads; its own where nobody else does.
type Input<'a, M> = Held<'a, <M as Numbers>::Stored>;

/// What a block's forward makes: its output, the output's sums where they were taken, and what it keeps.
type Made<M> = (Owned<M>, Option<Moments<<M as Numbers>::Sum>>, Saved<M>);

/// Reads a block's parts.
struct Block<'a, M: CudaNumbers> {
    pass: &'a Pass<'a, M>,
    at: &'a BlockAt,
    convs: [Conv; 3],
    downsample: Option<Conv>,
}

impl<'a, M: CudaNumbers> Block<'a, M> {
    fn weight(&self, conv: &ConvAt) -> View<'a, M::Stored> {
        self.pass.weights.slice(conv.weight.clone())
    }

    /// The norm at `at` of `map`, by running statistics where there are some, else by the map's moments.
    fn norm(
        &self,
        at: &NormAt,
        map: Map<'_, M>,
        moments: Option<Moments<M::Sum>>,
        statistics: &mut Option<Sums<M>>,
    ) -> Result<Norm<M::Sum>> {
        let Pass { cuda, parameters, running, .. } = *self.pass;
        let parameters =
            GainAndBias { gain: parameters.slice(at.gain.clone()), bias: parameters.slice(at.bias.clone()) };
        if let Some(running) = running {
            return Norm::running::<M>(cuda, running.slice(at.statistics.clone()), parameters);
        }
        let moments = match moments {
            Some(moments) => moments,
            None => cuda.moments::<M>(map, at.gain.len())?,
        };
        let statistics = statistics.as_mut().map(|all| all.view_mut().slice(at.statistics.clone()));
        cuda.norm::<M>(&moments, parameters, statistics)
    }

    /// The gradient of what a convolution read, from its columns and its output's gradient, with `added` added; writes
    /// that of its weight.
    fn through_conv(
        &self,
        (conv, at): (Conv, &ConvAt),
        (columns, dy): (Input<'_, M>, Map<'_, M>),
        added: Option<Owned<M>>,
        gradients: &mut Sums<M>,
    ) -> Result<Owned<M>> {
        let cuda = self.pass.cuda;
        conv.backward_weight::<M>(cuda, columns.view(), dy, gradients.view_mut().slice(at.weight.clone()))?;
        drop(columns);
        conv.backward_input::<M>(cuda, self.weight(at), dy, added)
    }

    /// The gradient of what a norm read; writes those of its parameters.
    fn through_norm(
        &self,
        (norm, at): (&Norm<M::Sum>, &NormAt),
        through: Through<'_, M::Stored>,
        gradients: &mut Sums<M>,
    ) -> Result<Owned<M>> {
        let [gain, bias] = gradients.view_mut().disjoint([at.gain.clone(), at.bias.clone()]);
        self.pass.cuda.norm_backward::<M>(norm, through, NormGradients { gain, bias })
    }
}

/// A stage's pass on a device.
struct Pass<'a, M: CudaNumbers> {
    cuda: &'a Cuda,
    stage: &'a Stage,
    parameters: View<'a, M::Sum>,
    /// The parameters as products multiply them.
    weights: View<'a, M::Stored>,
    running: Option<View<'a, M::Sum>>,
    /// Whether a backward may follow.
    keeps: bool,
}

impl<M: CudaNumbers> Pass<'_, M> {
    fn block<'a>(&'a self, at: &'a BlockAt, i: usize) -> Result<Block<'a, M>> {
        let sides = self.stage.sides_before(i);
        let conv = |conv: &ConvAt, sides| Conv::new(conv.spec, self.stage.dims[0], sides);
        let [one, two, three] = &at.convs;
        let conv2 = conv(two, sides)?;
        Ok(Block {
            pass: self,
            at,
            convs: [conv(one, sides)?, conv2, conv(three, conv2.out_sides())?],
            downsample: at.downsample.as_ref().map(|(at, _)| conv(at, sides)).transpose()?,
        })
    }

    /// The result and what every block keeps; nothing where no backward may follow.
    fn forward(&self, x: Map<'_, M>, statistics: &mut Option<Sums<M>>) -> Result<(Owned<M>, Vec<Saved<M>>)> {
        let (_, blocks) = self.stage.spec.blocks();
        let mut saved: Vec<Saved<M>> = Vec::new();
        let (mut input, mut moments) = (Held::Borrowed(x), None);
        for (i, at) in blocks.iter().enumerate() {
            let block = self.block(at, i)?;
            let (out, next, kept) = match self.stage.spec.form {
                BlockForm::PreActivation => pre::forward(&block, input, moments.take(), statistics)?,
                BlockForm::PostActivation => post::forward(&block, input, statistics)?,
            };
            (input, moments) = (Held::Owned(out), next);
            if self.keeps {
                saved.push(kept);
            }
        }
        match input {
            Held::Owned(y) => Ok((y, saved)),
            Held::Borrowed(_) => bail!("stage: expected at least one block, got none"),
        }
    }

    /// The gradients of x and of the parameters.
    fn backward(
        &self,
        (x, y): (Map<'_, M>, Option<Map<'_, M>>),
        saved: Vec<Saved<M>>,
        dy: Map<'_, M>,
    ) -> Result<(Owned<M>, Sums<M>)> {
        let (_, blocks) = self.stage.spec.blocks();
        let mut gradients = self.cuda.alloc(self.parameters.len())?;
        let (mut dx, mut out) = (None::<Owned<M>>, None::<Owned<M>>);
        for (i, (at, mut kept)) in blocks.iter().zip(saved).enumerate().rev() {
            let block = self.block(at, i)?;
            let block_x = kept.x.take();
            let input = block_x.as_ref().map_or(x, Array::view);
            let gradient = dx.as_ref().map_or(dy, Array::view);
            let through = match self.stage.spec.form {
                BlockForm::PreActivation => pre::backward(&block, input, kept, gradient, &mut gradients)?,
                BlockForm::PostActivation => {
                    // The block's output is the mask of its last ReLU.
                    let Some(out) = out.as_ref().map(Array::view).or(y) else {
                        bail!("stage: its output was not kept")
                    };
                    post::backward(&block, (input, out), kept, gradient, &mut gradients)?
                }
            };
            (dx, out) = (Some(through), block_x);
        }
        match dx {
            Some(dx) => Ok((dx, gradients)),
            None => bail!("stage: expected at least one block, got none"),
        }
    }
}

/// Runs the stage on `x` and returns its result with the token by which candle goes back.
pub(crate) fn run<M: CudaNumbers>(
    stage: Stage,
    x: &Beside,
    parameters: &Tensor,
    running: Option<&Tensor>,
) -> Result<Normalised<StageMap>> {
    let dims = stage.output_dims(parameters.elem_count(), running.map(Tensor::elem_count))?;
    let cuda = Cuda::of(x.values.device())?;
    let parameters = parameters.contiguous()?;
    let running = running.map(|running| running.to_dtype(M::Sum::DTYPE)?.contiguous()).transpose()?;
    let mut statistics = match running {
        Some(_) => None,
        None => Some(cuda.alloc::<M::Sum>(stage.spec.layout().n_statistics())?),
    };
    let keeps = x.token.track_op() || parameters.track_op();
    let (y, saved) = {
        let (p_storage, p_layout) = parameters.storage_and_layout();
        let (x_storage, x_layout) = x.values.storage_and_layout();
        let running = running.as_ref().map(Tensor::storage_and_layout);
        let parameters = cuda.view(&p_storage, p_layout)?;
        let weights = M::factors(&cuda, parameters)?;
        let pass = Pass::<M> {
            cuda: &cuda,
            stage: &stage,
            parameters,
            weights: weights.view(),
            running: running.as_ref().map(|(storage, layout)| cuda.view(storage, layout)).transpose()?,
            keeps,
        };
        pass.forward(cuda.view(&x_storage, x_layout)?, &mut statistics)?
    };
    let statistics = statistics.map(|statistics| statistics.into_vector(&cuda));
    let values = y.into_tensor(&cuda, &dims);
    let gradient = Gradient::default();
    let op = StageOp::<M> {
        // The last block's output is the mask of v1.5's last ReLU; v2 has no use for it.
        y: (stage.spec.form == BlockForm::PostActivation).then(|| values.clone()),
        stage,
        running,
        cuda,
        x: x.values.clone(),
        x_gradient: x.gradient.clone(),
        gradient: gradient.clone(),
        saved: Mutex::new(Some(saved)),
    };
    let token = x.token.apply_op2(&parameters, op)?;
    Ok(Normalised { y: StageMap(Inner::Beside(Beside { token, values, moments: None, gradient })), statistics })
}

struct StageOp<M: CudaNumbers> {
    stage: Stage,
    cuda: Cuda,
    running: Option<Tensor>,
    x: Tensor,
    x_gradient: Gradient,
    y: Option<Tensor>,
    gradient: Gradient,
    saved: Mutex<Option<Vec<Saved<M>>>>,
}

impl<M: CudaNumbers> StageOp<M> {
    fn backward(&self, saved: Vec<Saved<M>>, parameters: &Tensor) -> Result<(Owned<M>, Sums<M>)> {
        let dy = self.gradient.take()?.contiguous()?;
        let (p_storage, p_layout) = parameters.storage_and_layout();
        let (x_storage, x_layout) = self.x.storage_and_layout();
        let (dy_storage, dy_layout) = dy.storage_and_layout();
        let running = self.running.as_ref().map(Tensor::storage_and_layout);
        let y = self.y.as_ref().map(Tensor::storage_and_layout);
        let parameters = self.cuda.view(&p_storage, p_layout)?;
        let weights: Held<'_, M::Stored> = M::factors(&self.cuda, parameters)?;
        let pass = Pass::<M> {
            cuda: &self.cuda,
            stage: &self.stage,
            parameters,
            weights: weights.view(),
            running: running.as_ref().map(|(storage, layout)| self.cuda.view(storage, layout)).transpose()?,
            keeps: true,
        };
        let y = y.as_ref().map(|(storage, layout)| self.cuda.view(storage, layout)).transpose()?;
        pass.backward((self.cuda.view(&x_storage, x_layout)?, y), saved, self.cuda.view(&dy_storage, dy_layout)?)
    }
}

impl<M: CudaNumbers> CustomOp2 for StageOp<M> {
    fn name(&self) -> &'static str {
        "stage"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        not_here("stage")
    }

    fn cuda_fwd(&self, _: &CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<(CudaStorage, Shape)> {
        token_on(&self.cuda.device, M::Sum::DTYPE)
    }

    fn bwd(&self, x: &Tensor, p: &Tensor, _: &Tensor, _: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(saved) = self.saved.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            bail!("stage: backward ran twice through one forward")
        };
        let (dx, parameters) = self.backward(saved, p)?;
        let dx =
            x.track_op().then(|| self.x_gradient.add(dx.into_tensor(&self.cuda, self.x.shape()), x)).transpose()?;
        Ok((dx, parameter_gradient(p, || Ok(parameters.into_tensor(&self.cuda, p.shape())))?))
    }
}
