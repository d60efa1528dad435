//! Multi-head attention over a few tokens.

use super::rows::push_dropout;
use super::{
    Argument, Array, Context, Cuda, CudaNumbers, CudaReal, CudaUnit, Element, Forward, Gradients, Grid, KernelArgument,
    View,
};
use crate::Dropout;
use crate::kernels::attention::Heads;
use crate::kernels::numbers::{Exact, Numbers};
use crate::profile::{OpClass, Work};
use crate::rows::Attention;
use candle_core::{Result, bail};

/// Warps of a block, which is for one head of one image; they take its tokens in turns.
const WARPS: usize = 4;
/// Shared memory that every GPU has for a block.
const SHARED_BYTES: usize = 48 * 1024;

/// Queries, keys and values of a batch, or their gradients.
#[derive(Debug)]
pub(super) enum Projections<T> {
    /// `[B, S, 3 · D]`: every token asks.
    Packed(Array<T>),
    /// `[B, 1, D]` and `[B, S, 2 · D]`: the first token alone asks.
    Asking { q: Array<T>, kv: Array<T> },
}

/// Where queries, keys and values lie, and how far apart the rows of queries and of the others begin.
pub(super) struct Parts<'a, T> {
    q: View<'a, T>,
    k: View<'a, T>,
    v: View<'a, T>,
    step_q: usize,
    step_kv: usize,
}

impl<'a, T> Parts<'a, T> {
    fn packed(qkv: View<'a, T>, d: usize) -> Self {
        let from = |start| qkv.slice(start..qkv.len());
        Self { q: qkv, k: from(d), v: from(2 * d), step_q: 3 * d, step_kv: 3 * d }
    }
}

impl<T: Element> Projections<T> {
    fn like(cuda: &Cuda, sizes: Heads, batch: usize) -> Result<Self> {
        let d = sizes.width();
        Ok(if sizes.asks_once() {
            Self::Asking { q: cuda.alloc(batch * d)?, kv: cuda.alloc(batch * sizes.tokens * 2 * d)? }
        } else {
            Self::Packed(cuda.alloc(batch * sizes.tokens * 3 * d)?)
        })
    }

    pub(super) fn parts(&self, d: usize) -> Parts<'_, T> {
        match self {
            Self::Packed(qkv) => Parts::packed(qkv.view(), d),
            Self::Asking { q, kv } => {
                let (q, kv) = (q.view(), kv.view());
                Parts { q, k: kv, v: kv.slice(d..kv.len()), step_q: d, step_kv: 2 * d }
            }
        }
    }

    /// Where queries, keys and values are written.
    fn written(&mut self, d: usize) -> [KernelArgument; 3] {
        match self {
            Self::Packed(qkv) => {
                let len = qkv.len();
                [0, d, 2 * d].map(|from| qkv.view_mut().slice(from..len).into())
            }
            Self::Asking { q, kv } => {
                let len = kv.len();
                [q.view_mut().into(), kv.view_mut().into(), kv.view_mut().slice(d..len).into()]
            }
        }
    }
}

/// Pooled values, as products multiply them, and probabilities.
type Pooled<M> = (Array<<M as Numbers>::Stored>, Array<<M as Numbers>::Sum>);

impl Cuda {
    /// The pooled values `[B, Q, D]`, as products multiply them, and the probabilities `[B, heads, Q, S]` before dropout.
    pub(super) fn attention<M: CudaNumbers>(
        &self,
        (sizes, batch): (Heads, usize),
        parts: &Parts<'_, M::Sum>,
        dropout: Option<Dropout>,
    ) -> Result<Pooled<M>> {
        let _span = self.span(OpClass::Attention, work(sizes, batch, 2))?;
        let mut probs = self.alloc(batch * sizes.heads * sizes.queries * sizes.tokens)?;
        let mut pooled = self.alloc(batch * sizes.queries * sizes.width())?;
        let mut arguments =
            vec![parts.q.into(), parts.k.into(), parts.v.into(), probs.view_mut().into(), pooled.view_mut().into()];
        push_heads(&mut arguments, sizes, parts);
        push_dropout(&mut arguments, dropout);
        let grid = grid(sizes, batch, sizes.tokens * size_of::<M::Sum>())?;
        self.launch::<M>("attention", grid, &arguments)?;
        Ok((pooled, probs))
    }

    /// The gradients of projections.
    pub(super) fn attention_backward<M: CudaNumbers>(
        &self,
        (sizes, batch): (Heads, usize),
        (parts, probs): (&Parts<'_, M::Sum>, View<'_, M::Sum>),
        d_pooled: View<'_, M::Sum>,
        dropout: Option<Dropout>,
    ) -> Result<Projections<M::Stored>> {
        let _span = self.span(OpClass::Attention, work(sizes, batch, 4))?;
        let mut gradients = Projections::<M::Stored>::like(self, sizes, batch)?;
        let [dq, dk, dv] = gradients.written(sizes.width());
        let mut d_scores = self.alloc::<M::Sum>(probs.len())?;
        let mut arguments =
            vec![parts.k.into(), parts.v.into(), probs.into(), d_pooled.into(), d_scores.view_mut().into(), dq];
        push_heads(&mut arguments, sizes, parts);
        push_dropout(&mut arguments, dropout);
        let of_tokens = grid(sizes, batch, sizes.tokens * size_of::<M::Sum>())?;
        self.launch::<M>("attention_backward_queries", of_tokens, &arguments)?;
        let mut arguments = vec![parts.q.into(), probs.into(), d_pooled.into(), d_scores.view().into(), dk, dv];
        push_heads(&mut arguments, sizes, parts);
        push_dropout(&mut arguments, dropout);
        let of_queries = grid(sizes, batch, 2 * sizes.queries * size_of::<M::Sum>())?;
        self.launch::<M>("attention_backward_tokens", of_queries, &arguments)?;
        Ok(gradients)
    }
}

/// A block for each head of each image, of as many warps as have room for `shared` bytes each.
fn grid(sizes: Heads, batch: usize, shared: usize) -> Result<Grid> {
    let warps = (SHARED_BYTES / shared.max(1)).min(WARPS);
    if warps == 0 {
        bail!("attention: {} tokens are more than a block of a GPU has memory for", sizes.tokens)
    }
    Ok(Grid { blocks: (batch * sizes.heads, 1), threads: (32, warps), shared: warps * shared })
}

fn push_heads<T>(arguments: &mut Vec<KernelArgument>, sizes: Heads, parts: &Parts<'_, T>) {
    let Heads { tokens, queries, heads, head_width } = sizes;
    arguments.extend([heads, queries, tokens, head_width, parts.step_q, parts.step_kv].map(KernelArgument::from));
}

fn work(sizes: Heads, batch: usize, products: u64) -> Work {
    Work { flop: 2 * products * (batch * sizes.queries * sizes.tokens * sizes.width()) as u64, bytes: 0 }
}

impl CudaUnit for Attention {
    type CudaSaved<T: CudaReal> = Array<T>;

    fn forward<T: CudaReal>(&self, cuda: &Cuda, x: Argument<'_, T>, _: View<'_, T>) -> Result<Forward<T, Array<T>>> {
        let sizes = self.sizes(x.dims);
        let parts = Parts::packed(x.values, sizes.width());
        let (pooled, probs) = cuda.attention::<Exact<T>>((sizes, x.dims[0]), &parts, self.dropout)?;
        Ok(Forward::new(pooled, probs))
    }

    fn backward<T: CudaReal>(&self, cuda: &Cuda, context: Context<'_, T, Array<T>>) -> Result<Gradients<T>> {
        let sizes = self.sizes(context.x.dims);
        let parts = Parts::packed(context.x.values, sizes.width());
        let at = (sizes, context.x.dims[0]);
        let gradients =
            cuda.attention_backward::<Exact<T>>(at, (&parts, context.saved.view()), context.dy, self.dropout)?;
        let x = match gradients {
            Projections::Packed(qkv) => Some(qkv).filter(|_| context.wants_dx),
            Projections::Asking { .. } => None,
        };
        Ok(Gradients { x, parameters: None })
    }
}
