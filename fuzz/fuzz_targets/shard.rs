//! A tar shard.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| selfie_data::formats::fuzz::shard(bytes));
