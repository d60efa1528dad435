//! A linear layer on embeddings: multinomial logistic regression with an L2 penalty.
//!
//! Features are standardised by the training rows and divided by √D, so that one scale of learning rates fits every
//! network. Gradient descent with Nesterov momentum takes all training rows at each step and follows every learning rate
//! at once: the heads lie side by side in one product. All of them minimise the same convex function, so that the one that
//! came lowest can be chosen without looking at what is measured.

use candle_core::{Device, Tensor, Var};
use selfie_ops::{Precision, backward, cross_entropy, linear};

use crate::probe::Labelled;
use crate::{AccuracyMeter, EvalError};

const MOMENTUM: f32 = 0.9;

/// How the layer is fitted.
#[derive(Clone, Debug, PartialEq)]
pub struct LinearSettings {
    /// Learning rates, each with a head of its own.
    pub learning_rates: Vec<f32>,
    /// λ of the penalty λ/2 · ‖W‖² beside the mean cross entropy; the bias is free.
    pub l2: f32,
    /// Steps of gradient descent.
    pub steps: usize,
}

impl Default for LinearSettings {
    fn default() -> Self {
        Self { learning_rates: vec![0.3, 1.0, 3.0, 10.0, 30.0], l2: 1e-5, steps: 300 }
    }
}

/// A head that was fitted at one learning rate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LinearHead {
    /// The learning rate.
    pub learning_rate: f32,
    /// Mean cross entropy of the training rows and the penalty, nats; infinite where it diverged.
    pub objective: f64,
}

/// Fitted heads.
#[derive(Clone, Debug)]
pub struct LinearProbe {
    heads: Vec<LinearHead>,
    chosen: usize,
    scaling: Scaling,
    parameters: Tensor,
    n_classes: usize,
}

impl LinearProbe {
    /// Fits a head for each learning rate.
    ///
    /// # Errors
    ///
    /// If a number is not finite, there is no learning rate, or every head diverged.
    pub fn fit(train: Labelled<'_>, n_classes: usize, settings: &LinearSettings) -> Result<Self, EvalError> {
        if settings.learning_rates.is_empty() {
            return Err(EvalError::Diverged { learning_rates: Vec::new() });
        }
        let scaling = Scaling::of(train)?;
        let x = scaling.apply(train)?;
        let (n, width) = x.dims2()?;
        let (n_heads, n_outputs) = (settings.learning_rates.len(), settings.learning_rates.len() * n_classes);
        let labels: Vec<u32> = train.labels.iter().flat_map(|&label| vec![label; n_heads]).collect();
        let mut values = vec![0f32; n_outputs * (width + 1)];
        let parameters = Var::from_slice(&values, values.len(), &Device::Cpu)?;
        let mut momentum = vec![0f32; values.len()];
        for _ in 0..settings.steps {
            let logits = linear(&x, &parameters, n_outputs, Precision::Full)?.reshape((n * n_heads, n_classes))?;
            let gradients = backward(&cross_entropy(&logits, &labels, 0.0)?)?;
            let Some(gradient) = gradients.get(&parameters) else { break };
            let gradient = gradient.to_vec1::<f32>()?;
            let layer = Layer { width, n_classes, n_heads };
            step(&mut values, &mut momentum, &gradient, layer, settings);
            parameters.set(&Tensor::from_slice(&values, ((),), &Device::Cpu)?)?;
        }
        let parameters = parameters.as_detached_tensor();
        let probe = Self { heads: Vec::new(), chosen: 0, scaling, parameters, n_classes };
        probe.choose(train, settings)
    }

    /// The heads, in the order of the learning rates.
    #[must_use]
    pub fn heads(&self) -> &[LinearHead] {
        &self.heads
    }

    /// The head with the lowest objective.
    #[must_use]
    pub fn chosen(&self) -> LinearHead {
        self.heads[self.chosen]
    }

    /// What the chosen head makes of some rows.
    ///
    /// # Errors
    ///
    /// If the rows have another width than those it was fitted to, or a number is not finite.
    pub fn measure(&self, test: Labelled<'_>) -> Result<AccuracyMeter, EvalError> {
        let mut meter = AccuracyMeter::new(self.n_classes);
        meter.add(&self.logits(test, self.heads.len(), self.chosen)?, test.labels)?;
        Ok(meter)
    }

    /// `[n, L]` of one of `n_heads`, row by row.
    fn logits(&self, rows: Labelled<'_>, n_heads: usize, head: usize) -> Result<Vec<f32>, EvalError> {
        let x = self.scaling.apply(rows)?;
        let logits = linear(&x, &self.parameters, n_heads * self.n_classes, Precision::Full)?;
        Ok(logits.narrow(1, head * self.n_classes, self.n_classes)?.flatten_all()?.to_vec1::<f32>()?)
    }

    fn choose(mut self, train: Labelled<'_>, settings: &LinearSettings) -> Result<Self, EvalError> {
        let n_heads = settings.learning_rates.len();
        let width = train.rows.width();
        let weights = self.parameters.to_vec1::<f32>()?;
        for (head, &learning_rate) in settings.learning_rates.iter().enumerate() {
            let mut meter = AccuracyMeter::new(self.n_classes);
            let fitted = self.logits(train, n_heads, head).and_then(|logits| meter.add(&logits, train.labels));
            let of_head = &weights[head * self.n_classes * width..(head + 1) * self.n_classes * width];
            let squares: f64 = of_head.iter().map(|&w| f64::from(w).powi(2)).sum();
            let objective = match (fitted, meter.mean_cross_entropy()) {
                (Ok(()), Some(loss)) => loss + 0.5 * f64::from(settings.l2) * squares,
                _ => f64::INFINITY,
            };
            self.heads.push(LinearHead { learning_rate, objective });
        }
        let lowest = |best: usize, head: usize| {
            if self.heads[head].objective < self.heads[best].objective { head } else { best }
        };
        match (0..n_heads).reduce(lowest) {
            Some(chosen) if self.heads[chosen].objective.is_finite() => Ok(Self { chosen, ..self }),
            _ => Err(EvalError::Diverged { learning_rates: settings.learning_rates.clone() }),
        }
    }
}

/// The heads' sizes.
#[derive(Clone, Copy)]
struct Layer {
    width: usize,
    n_classes: usize,
    n_heads: usize,
}

/// One step of every head. The gradient is that of the mean over all heads' rows: that of one head, over their number.
fn step(values: &mut [f32], momentum: &mut [f32], gradient: &[f32], layer: Layer, settings: &LinearSettings) {
    let Layer { width, n_classes, n_heads } = layer;
    let n_weights = n_heads * n_classes * width;
    for (i, ((value, momentum), gradient)) in values.iter_mut().zip(momentum).zip(gradient).enumerate() {
        let (head, decay) = match i.checked_sub(n_weights) {
            None => (i / (n_classes * width), settings.l2 * *value),
            Some(bias) => (bias / n_classes, 0.0),
        };
        let gradient = gradient * n_heads as f32 + decay;
        *momentum = MOMENTUM * *momentum + gradient;
        *value -= settings.learning_rates[head] * (gradient + MOMENTUM * *momentum);
    }
}

/// What makes features of embeddings: minus the mean, times the scale.
#[derive(Clone, Debug)]
struct Scaling {
    mean: Vec<f32>,
    scale: Vec<f32>,
}

impl Scaling {
    fn of(train: Labelled<'_>) -> Result<Self, EvalError> {
        let (n, width) = (train.rows.n_rows(), train.rows.width());
        let (mut sums, mut squares) = (vec![0f64; width], vec![0f64; width]);
        train.rows.each(|row| sums.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value)));
        sums.iter_mut().for_each(|sum| *sum /= n as f64);
        train.rows.each(|row| {
            for ((square, mean), &value) in squares.iter_mut().zip(&sums).zip(row) {
                *square += (f64::from(value) - mean).powi(2);
            }
        });
        if let Some(value) = squares.iter().find(|square| !square.is_finite()) {
            return Err(EvalError::NonFinite { what: "a training embedding".to_owned(), value: *value });
        }
        // What never varies says nothing of classes.
        let scale = |square: &f64| match (square / n as f64).sqrt() {
            0.0 => 0.0,
            std => (1.0 / (std * (width as f64).sqrt())) as f32,
        };
        Ok(Self { scale: squares.iter().map(scale).collect(), mean: sums.iter().map(|&mean| mean as f32).collect() })
    }

    /// `[n, D]`
    fn apply(&self, labelled: Labelled<'_>) -> Result<Tensor, EvalError> {
        let (n, width) = (labelled.rows.n_rows(), labelled.rows.width());
        if width != self.mean.len() {
            return Err(EvalError::Widths { expected: self.mean.len(), got: width });
        }
        let mut features = Vec::with_capacity(n * width);
        labelled.rows.each(|row| {
            features.extend(row.iter().zip(&self.mean).zip(&self.scale).map(|((&v, mean), scale)| (v - mean) * scale));
        });
        Ok(Tensor::from_vec(features, (n, width), &Device::Cpu)?)
    }
}
