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
    /// Embeddings without a class each.
    #[error("expected a label for each of {n_rows} embeddings, at least one, got {got}")]
    Labels {
        /// Embeddings.
        n_rows: usize,
        /// Labels.
        got: usize,
    },
    /// A linear probe that no learning rate fits.
    #[error(
        "the linear probe diverged at every learning rate ({learning_rates:?}); give at least one, and smaller ones"
    )]
    Diverged {
        /// The learning rates.
        learning_rates: Vec<f32>,
    },
    /// Numbers that are no whole rows.
    #[error("expected rows of {width} numbers, got {got} numbers in all")]
    Rows {
        /// Numbers of a row.
        width: usize,
        /// Numbers there are.
        got: usize,
    },
    /// Embeddings of two widths that were to be compared.
    #[error("expected embeddings of {expected} numbers, got {got}; embed both with the same weights at the same place")]
    Widths {
        /// Numbers of a row.
        expected: usize,
        /// Numbers of a query.
        got: usize,
    },
    /// A file of embeddings that cannot be used.
    #[error("{what}: expected {expected}, got {got}; make it again with `selfie embed`")]
    Embeddings {
        /// The file, and the part of it.
        what: String,
        /// What should be there.
        expected: String,
        /// What is there.
        got: String,
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
    /// A network failed.
    #[error(transparent)]
    Model(#[from] selfie_model::ModelError),
    /// A tensor operation failed.
    #[error(transparent)]
    Tensor(#[from] candle_core::Error),
}
