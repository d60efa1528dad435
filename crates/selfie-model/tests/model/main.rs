//! The networks against PyTorch, their weights files, and whether they learn.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should fail where it stands")]

#[path = "../../../../tests/support/device.rs"]
mod device;
mod embeddings;
mod foreign;
mod hostile;
mod inference;
mod learns;
mod oracle;
mod roundtrip;

use selfie_model::SelfieConfig;

/// A network that a test can afford.
pub(crate) fn tiny() -> SelfieConfig {
    SelfieConfig {
        width: 4,
        depths: [1, 1, 1, 1],
        heads: 4,
        ffn: 16,
        layers: 1,
        dropout: 0.0,
        ..SelfieConfig::default()
    }
}
