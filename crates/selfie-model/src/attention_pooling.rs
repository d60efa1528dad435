//! Attention pooling: transformer layers over the pool token and patch embeddings; the token's output is the pooled embedding.

use crate::config::SelfieConfig;
use crate::mode::Mode;
use crate::unit::{Build, ParameterUnit};
use candle_core::{D, Result, Tensor, bail};
use selfie_ops::{
    LayerDropout, ParameterKind, Precision, TokenOutput, TransformerSpec, UnitLayout, layer_norm, linear,
    transformer_layer,
};
use std::collections::BTreeMap;

/// The token before each image's context: `[B, 1 + K, D]`.
fn with_token(pool_token: &Tensor, context: &Tensor) -> Result<Tensor> {
    let (b, _, d) = context.dims3()?;
    let token = pool_token.reshape((1, 1, d))?.broadcast_as((b, 1, d))?;
    Tensor::cat(&[&token, context], 1)
}

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
        let mut x = with_token(pool_token, context)?;
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

    /// How much the token attends to itself and to the context in each layer, without dropout.
    ///
    /// # Shapes
    ///
    /// - `pool_token`, `context`: as [`Self::forward`] takes them
    /// - returns for each layer `[B, heads, 1 + K]`
    pub(crate) fn token_attention(&self, pool_token: &Tensor, context: &Tensor) -> Result<Vec<Tensor>> {
        let mut x = with_token(pool_token, context)?;
        let mut layers = Vec::with_capacity(self.layers.len());
        for unit in &self.layers {
            layers.push(self.attention_of_first(&x, unit)?);
            x = transformer_layer(&x, &unit.tensor(Mode::Inference), self.spec, None)?;
        }
        Ok(layers)
    }

    /// softmax(q·Kᵀ/√d) of the first token's query in one layer: the fused layer keeps it to itself.
    fn attention_of_first(&self, x: &Tensor, unit: &ParameterUnit) -> Result<Tensor> {
        let (b, s, d) = x.dims3()?;
        let head = d / self.spec.heads;
        let named: BTreeMap<String, Tensor> = unit.named(&unit.tensor(Mode::Inference))?.into_iter().collect();
        let parameter = |name: &str| match named.get(&format!("{}{name}", unit.prefix())) {
            Some(tensor) => Ok(tensor),
            None => bail!("tensor `{}{name}` is missing", unit.prefix()),
        };
        let flat = |names: [&str; 2], first: usize, rows: usize| {
            let parts = names.map(|name| parameter(name)?.narrow(0, first, rows)?.flatten_all());
            let [weight, bias] = parts;
            Tensor::cat(&[weight?, bias?], 0)
        };
        let x = match self.spec.norm_first {
            true => layer_norm(x, &flat(["norm1.weight", "norm1.bias"], 0, d)?)?,
            false => x.clone(),
        };
        let projection = ["self_attn.in_proj_weight", "self_attn.in_proj_bias"];
        let q = linear(&x.narrow(1, 0, 1)?.contiguous()?, &flat(projection, 0, d)?, d, Precision::Full)?;
        let k = linear(&x, &flat(projection, d, d)?, d, Precision::Full)?;
        let heads = |tensor: Tensor, tokens: usize| {
            tensor.reshape((b, tokens, self.spec.heads, head))?.transpose(1, 2)?.contiguous()
        };
        let scores = heads(q, 1)?.matmul(&heads(k, s)?.transpose(2, 3)?.contiguous()?)?.squeeze(2)?; // [B, heads, S]
        let scores = (scores / (head as f64).sqrt())?;
        let exp = scores.broadcast_sub(&scores.max_keepdim(D::Minus1)?)?.exp()?;
        exp.broadcast_div(&exp.sum_keepdim(D::Minus1)?)
    }

    pub(crate) fn units(&self) -> impl Iterator<Item = &ParameterUnit> {
        self.layers.iter().chain(&self.norm)
    }
}
