//! Attention pooling: transformer layers over the pool token and patch embeddings; the token's output is the pooled embedding.

use crate::config::SelfieConfig;
use crate::mode::Mode;
use crate::unit::{Build, ParameterUnit};
use candle_core::{Result, Tensor};
use selfie_ops::{
    LayerDropout, ParameterKind, TokenOutput, TransformerSpec, UnitLayout, layer_norm, transformer_layer,
};

/// The paper's A.
#[derive(Debug)]
pub(crate) struct AttentionPooling {
    spec: TransformerSpec,
    dropout: f64,
    layers: Vec<ParameterUnit>,
    /// The norm that ends a pre-LN transformer.
    norm: Option<ParameterUnit>,
}

impl AttentionPooling {
    pub(crate) fn new(config: &SelfieConfig, build: Build<'_>) -> Result<Self> {
        let SelfieConfig { heads, ffn, norm_first, dropout, .. } = *config;
        let spec = TransformerSpec {
            width: config.embedding_width(),
            heads,
            ffn,
            norm_first,
            precision: build.precision,
            output: TokenOutput::All,
        };
        let layer = |i| ParameterUnit::new(format!("attention_pooling.layers.{i}."), spec.layout(), build);
        let layers = (0..config.layers).map(layer).collect::<Result<_>>()?;
        let norm = if norm_first {
            let mut layout = UnitLayout::default();
            layout.push("weight", ParameterKind::Gain, &[spec.width]);
            layout.push("bias", ParameterKind::Bias, &[spec.width]);
            Some(ParameterUnit::new("attention_pooling.norm.", layout, build)?)
        } else {
            None
        };
        Ok(Self { spec, dropout, layers, norm })
    }

    /// Pools embeddings into one.
    ///
    /// Paper: section 2, the encoder's Transformer.
    ///
    /// # Shapes
    ///
    /// - `pool_token`: `[D]`
    /// - `context`: `[B, K, D]`, patch embeddings with their positions added
    /// - returns `[B, D]`
    pub(crate) fn forward(&self, pool_token: &Tensor, context: &Tensor, mode: Mode<'_>) -> Result<Tensor> {
        let (b, _, d) = context.dims3()?;
        let token = pool_token.reshape((1, 1, d))?.broadcast_as((b, 1, d))?;
        let mut x = Tensor::cat(&[&token, context], 1)?; // [B, 1 + K, D]
        for (i, unit) in self.layers.iter().enumerate() {
            let dropout = match mode {
                Mode::Inference => None,
                Mode::Training(training) => {
                    let (seed, step) = training.key();
                    Some(LayerDropout { p: self.dropout, seed, step, layer: i as u32 })
                }
            };
            // Of the last layer's outputs only the token's is read.
            let output = if i + 1 == self.layers.len() { TokenOutput::First } else { TokenOutput::All };
            x = transformer_layer(&x, &unit.tensor(mode), TransformerSpec { output, ..self.spec }, dropout)?;
        }
        let u = x.narrow(1, 0, 1)?.squeeze(1)?; // [B, D]
        match &self.norm {
            Some(unit) => layer_norm(&u, &unit.tensor(mode)),
            None => Ok(u),
        }
    }

    pub(crate) fn units(&self) -> impl Iterator<Item = &ParameterUnit> {
        self.layers.iter().chain(&self.norm)
    }
}
