//! Where tests compute: `SELFIE_TEST_DEVICE=cuda cargo test --features cuda`, or `metal`.

use std::sync::OnceLock;

use candle_core::Device;

#[cfg(feature = "cuda")]
fn cuda() -> Device {
    selfie_ops::new_cuda(0).unwrap()
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Device {
    panic!("SELFIE_TEST_DEVICE: cuda wants the feature `cuda`")
}

/// The CPU, or what `SELFIE_TEST_DEVICE` names.
pub(crate) fn device() -> &'static Device {
    static DEVICE: OnceLock<Device> = OnceLock::new();
    DEVICE.get_or_init(|| match std::env::var("SELFIE_TEST_DEVICE").as_deref() {
        Err(_) | Ok("cpu") => Device::Cpu,
        Ok("cuda") => cuda(),
        Ok("metal") => Device::new_metal(0).unwrap(),
        Ok(other) => panic!("SELFIE_TEST_DEVICE: expected cpu, cuda or metal, got {other}"),
    })
}
