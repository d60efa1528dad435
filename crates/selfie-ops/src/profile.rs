//! Where a step's time goes: time, calls, operations and bytes of each class of operation, for the whole process.
//!
//! Off, a span costs one relaxed load. Spans are taken on the thread that calls a kernel, around everything that the kernel
//! waits for, and never inside a parallel loop: together they are at most the wall time. What they do not cover is candle's own
//! part of a step.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

#[cfg(test)]
mod tests;

/// What an operation does, as far as a profile tells operations apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpClass {
    /// Convolutions, with what is packed into them.
    ConvolutionForward,
    /// Gradients of a convolution's input and weight.
    ConvolutionBackward,
    /// Passes of a batch normalisation of their own, forward and backward.
    Norm,
    /// Linear layers.
    LinearForward,
    /// Gradients of a linear layer's input, weight and bias.
    LinearBackward,
    /// Scores, softmax and weighted values, forward and backward.
    Attention,
    /// Layer normalisation, forward and backward.
    LayerNorm,
    /// GELU, dropout and residual additions, forward and backward.
    Activation,
    /// Pools, forward and backward.
    Pool,
    /// Cross entropy, forward and backward.
    Loss,
    /// Gradient norm and update.
    Optimizer,
}

impl OpClass {
    /// Every class, in the order of a profile's rows.
    pub const ALL: [Self; 11] = [
        Self::ConvolutionForward,
        Self::ConvolutionBackward,
        Self::Norm,
        Self::LinearForward,
        Self::LinearBackward,
        Self::Attention,
        Self::LayerNorm,
        Self::Activation,
        Self::Pool,
        Self::Loss,
        Self::Optimizer,
    ];
}

impl fmt::Display for OpClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::ConvolutionForward => "convolution forward",
            Self::ConvolutionBackward => "convolution backward",
            Self::Norm => "norm",
            Self::LinearForward => "linear forward",
            Self::LinearBackward => "linear backward",
            Self::Attention => "attention",
            Self::LayerNorm => "layer norm",
            Self::Activation => "activation",
            Self::Pool => "pool",
            Self::Loss => "loss",
            Self::Optimizer => "optimizer",
        })
    }
}

/// What one class took between [`start`] and [`finish`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProfileRow {
    /// The class.
    pub class: OpClass,
    /// Spans, usually one a call of a kernel.
    pub calls: u64,
    /// Their time together.
    pub time: Duration,
    /// Floating-point operations that the result needs: two for a multiplication and an addition.
    pub flop: u64,
    /// Bytes of operands read and results written, each once, wherever they lay.
    pub bytes: u64,
}

/// What a span's operation needs, for the rates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Work {
    pub(crate) flop: u64,
    pub(crate) bytes: u64,
}

impl Work {
    /// `flop` operations and `tensors` reads or writes for each of `elements` numbers of type `T`.
    pub(crate) fn elementwise<T>(elements: usize, flop: u64, tensors: u64) -> Self {
        let elements = elements as u64;
        Self { flop: elements * flop, bytes: elements * tensors * size_of::<T>() as u64 }
    }
}

/// Forgets what was measured and begins to measure.
pub fn start() {
    PROFILE.start();
}

/// Stops measuring; a row for each class that had a span, in the order of [`OpClass::ALL`].
#[must_use]
pub fn finish() -> Vec<ProfileRow> {
    PROFILE.finish()
}

/// Measures until the guard is dropped. A span within a span is the inner one's time, not the outer one's.
pub(crate) fn span(class: OpClass, work: Work) -> Span<'static> {
    PROFILE.span(class, work)
}

/// Whether a profile is being taken.
#[cfg(feature = "cuda")]
pub(crate) fn measures() -> bool {
    PROFILE.measures.load(Relaxed)
}

static PROFILE: Profile = Profile::new();

thread_local! {
    /// Nanoseconds of the spans that ended within this thread's innermost open one.
    static WITHIN: Cell<u64> = const { Cell::new(0) };
}

struct Profile {
    measures: AtomicBool,
    totals: [Totals; OpClass::ALL.len()],
}

struct Totals {
    calls: AtomicU64,
    ns: AtomicU64,
    flop: AtomicU64,
    bytes: AtomicU64,
}

impl Totals {
    const fn new() -> Self {
        Self { calls: AtomicU64::new(0), ns: AtomicU64::new(0), flop: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    fn add(&self, ns: u64, work: Work) {
        self.calls.fetch_add(1, Relaxed);
        self.ns.fetch_add(ns, Relaxed);
        self.flop.fetch_add(work.flop, Relaxed);
        self.bytes.fetch_add(work.bytes, Relaxed);
    }
}

impl Profile {
    const fn new() -> Self {
        Self { measures: AtomicBool::new(false), totals: [const { Totals::new() }; OpClass::ALL.len()] }
    }

    fn start(&self) {
        for totals in &self.totals {
            for number in [&totals.calls, &totals.ns, &totals.flop, &totals.bytes] {
                number.store(0, Relaxed);
            }
        }
        self.measures.store(true, Relaxed);
    }

    fn finish(&self) -> Vec<ProfileRow> {
        self.measures.store(false, Relaxed);
        let row = |(class, totals): (OpClass, &Totals)| ProfileRow {
            class,
            calls: totals.calls.load(Relaxed),
            time: Duration::from_nanos(totals.ns.load(Relaxed)),
            flop: totals.flop.load(Relaxed),
            bytes: totals.bytes.load(Relaxed),
        };
        OpClass::ALL.into_iter().zip(&self.totals).map(row).filter(|row| row.calls > 0).collect()
    }

    #[inline]
    fn span(&self, class: OpClass, work: Work) -> Span<'_> {
        if !self.measures.load(Relaxed) {
            return Span(None);
        }
        let totals = &self.totals[class as usize];
        Span(Some(Open { totals, work, before: WITHIN.replace(0), begin: Instant::now() }))
    }
}

/// A guard: it measures from when it was made until it is dropped, on the same thread.
#[must_use = "a span measures until it is dropped"]
pub(crate) struct Span<'a>(Option<Open<'a>>);

struct Open<'a> {
    totals: &'a Totals,
    work: Work,
    /// What [`WITHIN`] was for the span around this one.
    before: u64,
    begin: Instant,
}

impl Drop for Span<'_> {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            let ns = u64::try_from(open.begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
            let within = WITHIN.replace(open.before + ns);
            open.totals.add(ns.saturating_sub(within), open.work);
        }
    }
}
