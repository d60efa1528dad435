//! A stage in candle's graph: its forward runs at once, its backward when candle comes to its token.

use super::{BlockForm, Ran, SavedBlock, Stage};
use crate::StageMap;
use crate::kernels::numbers::Numbers;
use crate::map::{Beside, Gradient, Inner, token};
use crate::unit::{Normalised, on_cpu, parameter_gradient};
use candle_core::{CpuStorage, CustomOp2, Device, Layout, Result, Shape, Tensor, WithDType, bail};
use std::sync::{Mutex, PoisonError};

/// Runs the stage on `x` and returns its result with the token by which candle goes back.
pub(super) fn run<M: Numbers>(stage: Stage, x: &Beside, parameters: &Tensor) -> Result<Normalised<StageMap>> {
    let dims = stage.output_dims(parameters.elem_count(), stage.running.as_ref().map(Vec::len))?;
    let parameters = parameters.contiguous()?;
    let keeps = x.token.track_op() || parameters.track_op();
    let Ran { y, moments, saved, statistics } = {
        let (storage, layout) = parameters.storage_and_layout();
        let (x_storage, x_layout) = x.values.storage_and_layout();
        // Running statistics stand in for those of the batch.
        let moments = x.moments.as_ref().filter(|_| stage.running.is_none()).map(|moments| moments.cast());
        stage.forward::<M>((on_cpu(&x_storage, x_layout)?, moments), on_cpu(&storage, layout)?, keeps)?
    };
    let values = Tensor::from_vec(y, &dims, &Device::Cpu)?;
    let gradient = Gradient::default();
    let op = StageOp::<M> {
        // The last block's output is the mask of v1.5's last ReLU; v2 has no use for it.
        y: (stage.spec.form == BlockForm::PostActivation).then(|| values.clone()),
        stage,
        x: x.values.clone(),
        x_gradient: x.gradient.clone(),
        gradient: gradient.clone(),
        saved: Mutex::new(Some(saved)),
    };
    let token = x.token.apply_op2(&parameters, op)?;
    let statistics = (!statistics.is_empty()).then(|| Tensor::from_vec(statistics, ((),), &Device::Cpu)).transpose()?;
    let moments = moments.map(|moments| moments.cast());
    Ok(Normalised { y: StageMap(Inner::Beside(Beside { token, values, moments, gradient })), statistics })
}

struct StageOp<M: Numbers> {
    stage: Stage,
    x: Tensor,
    x_gradient: Gradient,
    y: Option<Tensor>,
    gradient: Gradient,
    saved: Mutex<Option<Vec<SavedBlock<M>>>>,
}

impl<M: Numbers> CustomOp2 for StageOp<M> {
    fn name(&self) -> &'static str {
        "stage"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        token(M::Sum::DTYPE)
    }

    fn bwd(&self, x: &Tensor, p: &Tensor, _: &Tensor, _: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Some(saved) = self.saved.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            bail!("stage: backward ran twice through one forward")
        };
        let dy = self.gradient.take()?;
        let gradients = {
            let (p_storage, p_layout) = p.storage_and_layout();
            let (x_storage, x_layout) = self.x.storage_and_layout();
            let (dy_storage, dy_layout) = dy.storage_and_layout();
            let y = self.y.as_ref().map(Tensor::storage_and_layout);
            let y = match &y {
                Some((storage, layout)) => on_cpu(storage, layout)?,
                None => &[],
            };
            let (x, dy) = (on_cpu(&x_storage, x_layout)?, on_cpu(&dy_storage, dy_layout)?);
            self.stage.backward::<M>((x, y), saved, on_cpu(&p_storage, p_layout)?, dy)?
        };
        let dx =
            x.track_op().then(|| self.x_gradient.add(Tensor::from_vec(gradients.x, self.x.shape(), &Device::Cpu)?, x));
        Ok((
            dx.transpose()?,
            parameter_gradient(p, || Tensor::from_vec(gradients.parameters, p.shape(), &Device::Cpu))?,
        ))
    }
}
