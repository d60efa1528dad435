//! A weights file, as far as the network that it says it is of.
#![no_main]

use std::path::Path;

use candle_core::{DType, Device};
use selfie_model::{Classifier, Selfie, WeightsFile};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let path = Path::new("fuzzed.safetensors");
    if let Ok(file) = WeightsFile::from_bytes(bytes, path) {
        let _ = Selfie::of_file(&file, path, DType::F32, &Device::Cpu);
        let _ = Classifier::of_file(&file, path, DType::F32, &Device::Cpu);
    }
});
