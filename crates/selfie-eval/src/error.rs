//! The crate's one error type.

/// What can be wrong with a measurement or a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EvalError {
    /// Logits that are not whole rows, one a label.
    #[error(
        "the logits of {n_labels} examples over {n_classes} classes should be {} numbers, got {got}; pass them as [B, L], row by row",
        n_labels * n_classes
    )]
    LogitsShape {
        /// Labels passed with the logits.
        n_labels: usize,
        /// Classes the accumulator was made for.
        n_classes: usize,
        /// Numbers passed.
        got: usize,
    },
    /// A label outside the classes.
    #[error("label {label} of example {example_idx} is not below the number of classes, {n_classes}")]
    Label {
        /// Position in the batch.
        example_idx: usize,
        /// The label found.
        label: u32,
        /// Classes the accumulator was made for.
        n_classes: usize,
    },
    /// A NaN or infinite number where a measurement was expected.
    #[error("{what} is {value}, expected a finite number")]
    NonFinite {
        /// Which number.
        what: String,
        /// Its value.
        value: f64,
    },
    /// Paired samples of different lengths.
    #[error(
        "a paired comparison needs one value of each arm a pair, got {treated} and {control}; pair the runs by seed"
    )]
    Unpaired {
        /// Values of the first arm.
        treated: usize,
        /// Values of the second arm.
        control: usize,
    },
    /// Too few values for the statistic.
    #[error("{what} needs at least {expected} values, got {got}")]
    TooFew {
        /// The statistic.
        what: &'static str,
        /// Values it needs.
        expected: usize,
        /// Values passed.
        got: usize,
    },
    /// A record that cannot be read or written as JSON.
    #[error("{what} is not valid: {source}")]
    Json {
        /// Which record, with its line where it has one.
        what: String,
        /// What serde_json found.
        source: serde_json::Error,
    },
    /// The data set failed.
    #[error(transparent)]
    Data(#[from] selfie_data::DataError),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
