//! Loops over plain slices: what the operations compute, without candle's graph.
//!
//! Every loop runs on all cores over pieces whose boundaries depend on shapes alone, and every sum over pieces is taken in
//! piece order: the same input gives the same bytes on any number of threads.

pub(crate) mod activation;
pub(crate) mod attention;
pub(crate) mod conv;
pub(crate) mod layer_norm;
pub(crate) mod linear;
pub(crate) mod loss;
pub(crate) mod memory;
pub(crate) mod norm;
pub(crate) mod numbers;
pub(crate) mod order;
pub(crate) mod pieces;
pub(crate) mod pool;
pub(crate) mod product;
pub(crate) mod scratch;
