//! An archive of CIFAR-10.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| selfie_data::formats::fuzz::cifar(bytes));
