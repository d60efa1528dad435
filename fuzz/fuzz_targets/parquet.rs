//! A parquet file of images and labels.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| selfie_data::formats::fuzz::parquet(bytes));
