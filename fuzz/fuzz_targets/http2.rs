//! The target `http2`: see the module of that name.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| evenkeel_fuzz::http2::check(data));
