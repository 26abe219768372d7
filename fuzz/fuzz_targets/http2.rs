//! The fuzz target `http2`, implemented in the module of that name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evenkeel_fuzz::http2::check(data));
