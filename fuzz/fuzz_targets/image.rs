//! An image file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| selfie_data::formats::fuzz::image(bytes));
