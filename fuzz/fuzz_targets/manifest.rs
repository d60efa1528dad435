//! A checkpoint's manifest.
#![no_main]

use std::path::Path;

use selfie_train::checkpoint::Manifest;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = Manifest::parse(bytes, Path::new("manifest.json"));
});
